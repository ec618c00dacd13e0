"""Detects again what was refused because of other images, for programs that have time."""

from detection.deadline import NEVER
from detection.detector import Detection, Detector, Query
from detection.errors import Overloaded, RequestError

RETRIES = 5


async def detect_alone(
    detector: Detector, data: bytes | RequestError, query: Query
) -> Detection | RequestError:
    """The faces of a file that took long or much memory beside others that did, too.

    No other file should be tried again meanwhile. The result is Overloaded if that does not help.
    """
    for _ in range(RETRIES):
        [found] = await detector.detect_all([data], query, NEVER)
        if not isinstance(found, Overloaded):
            break
    return found
