"""The port on which the servers listen, one after the other."""

import socket

from sfd.errors import SfdError


def free(wanted: int) -> int:
    """The wanted port, or any free one for 0. Raises SfdError if it is in use."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise SfdError(
                f"port {wanted} cannot be used ({error.strerror}); name another one with --port"
            ) from None
        port: int = listener.getsockname()[1]
        return port
