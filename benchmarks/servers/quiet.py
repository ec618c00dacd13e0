"""Whether a machine has other work to do."""

import time
from collections.abc import Callable

import psutil

LONGEST_S = 180
"""The load of a minute ago is forgotten by then."""
STEP_S = 5


def load() -> float:
    """The processes that wanted to run in the last minute, on average."""
    return float(psutil.getloadavg()[0])


def is_quiet(load: float, cores: int) -> bool:
    """Whether results may be published that were measured after such a load.

    The minute before also has the making of the environments, which takes a part of one core.
    """
    return load < cores / 2


def wait(
    cores: int,
    say: Callable[[str], object],
    measure: Callable[[], float] = load,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Wait until the machine is quiet, but not longer than LONGEST_S."""
    for step in range(LONGEST_S // STEP_S):
        current = measure()
        if is_quiet(current, cores):
            return
        if step == 0:
            say(f"waiting up to {LONGEST_S} s until other work ends: the load is {current:.1f}")
        sleep(STEP_S)
    say("the machine still has other work: these results will be marked as a trial")
