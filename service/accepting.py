"""Accepts connections while the process may open enough files; otherwise they wait.

At the limit of open files uvloop's own server accepts all waiting connections and closes them at
once, and asyncio's fails each time with a traceback.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sized

from service.descriptors import Descriptors

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Most connections to accept before other events get their turn."""


class Acceptor:
    """Gives each connection to a bound and listening socket a protocol.

    `connections` are those that are open. Without any, one is accepted even if only the reserve
    of files is left, because waiting would never end.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        descriptors: Descriptors,
        connections: Sized,
    ) -> None:
        self.listener = listener
        self.protocol = protocol
        self.descriptors = descriptors
        self.connections = connections
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._listening = False
        listener.setblocking(False)

    def resume(self) -> None:
        """Accept connections if that is possible; call it regularly."""
        if not self._listening and self._may_accept():
            self._loop.add_reader(self.listener, self._accept)
            self._listening = True

    def pause(self) -> None:
        """Leave new connections to the system, where they wait."""
        if self._listening:
            self._loop.remove_reader(self.listener)
            self._listening = False

    async def close(self) -> None:
        """Accept nothing more. Afterwards all that was accepted has its protocol."""
        self.pause()
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _may_accept(self) -> bool:
        return self.descriptors.check() or not (self.connections or self._starting)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if not self._may_accept():
                self.pause()
                return
            try:
                connection, _address = self.listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # Files or memory are lacking, or the network fails: try again a little later.
                self.pause()
                return
            task = self._loop.create_task(self._start(connection))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self, connection: socket.socket) -> None:
        try:
            # uvloop does this itself, asyncio only for a listener that names its protocol.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self.protocol, connection)
        except OSError as error:
            connection.close()
            log.debug("a connection ended before it began: %s", error)
