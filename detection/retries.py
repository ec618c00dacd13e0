"""Detects again what was refused because of other images, for programs that have time."""

from collections.abc import Sequence

from detection.deadline import NEVER
from detection.detector import Detection, Detector, Query
from detection.errors import Overloaded, RequestError

RETRIES = 5


async def detect_group(
    detector: Detector, files: Sequence[bytes | RequestError], query: Query
) -> list[Detection | RequestError]:
    """The faces of each file, or its problem. Nothing else may run in the detector meanwhile."""
    found = await detector.detect_all(files, query, NEVER)
    return [
        await detect_alone(detector, data, query) if isinstance(one, Overloaded) else one
        for data, one in zip(files, found, strict=True)
    ]


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
