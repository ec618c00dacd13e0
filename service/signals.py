"""The signals that end the service in order."""

import os
import signal


def ending() -> list[signal.Signals]:
    """SIGTERM, SIGINT, and SIGHUP, which a closed terminal sends.

    SIGHUP is left out under `nohup`, and in process 1 of a container: without a handler, both
    ignore it.
    """
    numbers = [signal.SIGTERM, signal.SIGINT]
    if os.getpid() != 1 and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers
