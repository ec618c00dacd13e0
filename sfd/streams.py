"""Opens the standard streams that a command was started without (`2>&-`)."""

import os
import sys


def open_closed_streams() -> None:
    """Connect stdin, stdout and stderr to the null device if they are closed.

    Python has None for such a stream, and the system gives its descriptor to the next file or
    socket, into which a library would then print. Call this before anything opens one.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            # The lowest free descriptor is this one, unless another thread was faster.
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
            stream = os.fdopen(
                descriptor, "w" if descriptor else "r", errors="surrogateescape", closefd=False
            )
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
