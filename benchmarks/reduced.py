"""`python -m benchmarks.reduced`: how far boxes move if large JPEGs are decoded at a reduced scale.

Each image is enlarged to `--side` pixels, as a JPEG. The faces of the full decode are compared with
those of SFD_REDUCED_DECODING=auto and =true, and, for scale, with those of the same picture saved
once more.
"""

import argparse
import asyncio
import io
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.ending import exit_code
from detection import settings
from detection.detector import Detection, Detector, Query
from detection.errors import RequestError
from detection.opening import find_model, open_detector
from detection.settings import DEFAULT_MODEL, DetectionSettings
from geometry.boxes import iou
from sfd.arguments import positive
from sfd.errors import SfdError
from training.data.images import opened, upright
from training.evaluation import ground_truth

SAVED_AGAIN = "saved again"
QUALITY = 95
BOUND = 0.98


def enlarged(path: Path, side: int) -> bytes:
    """An image as a JPEG whose longer side has `side` pixels."""
    with opened(path) as file:
        image = upright(file).convert("RGB")
    scale = side / max(image.size)
    size = round(image.width * scale), round(image.height * scale)
    return _jpeg(image.resize(size, Image.Resampling.LANCZOS))


def saved_again(data: bytes) -> bytes:
    """The same picture, encoded once more."""
    with Image.open(io.BytesIO(data)) as image:
        return _jpeg(image)


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def overlaps(expected: Detection, found: Detection) -> list[float]:
    """For each expected face its IoU with the nearest one that was found; 0 if there is none."""
    if not len(expected.boxes):
        return []
    shared = iou(expected.boxes, found.boxes)
    return [float(best) for best in np.max(shared, axis=1, initial=0.0)]


async def compare(
    paths: Sequence[Path], side: int, full: Detector, reduced: Mapping[str, Detector]
) -> Mapping[str, list[float]]:
    """The IoU of each face of the full decode, by what it is compared with. Raises SfdError."""
    found: dict[str, list[float]] = {name: [] for name in (SAVED_AGAIN, *reduced)}
    for path in tqdm(paths, unit="image", leave=False, disable=None):
        data = enlarged(path, side)
        expected = await _faces(full, path, data)
        found[SAVED_AGAIN] += overlaps(expected, await _faces(full, path, saved_again(data)))
        for name, detector in reduced.items():
            found[name] += overlaps(expected, await _faces(detector, path, data))
    return found


async def _faces(detector: Detector, path: Path, data: bytes) -> Detection:
    [found] = await detector.detect_all([data], Query(), math.inf)
    if isinstance(found, RequestError):
        raise SfdError(f"{path}: {found}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table; returns the exit code."""
    parser = argparse.ArgumentParser(description="What reduced decoding of JPEGs changes.")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME", help="default: %(default)s"
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="their folder")
    parser.add_argument(
        "--ground-truth",
        type=Path,
        required=True,
        metavar="FILE",
        help="which of them, as in evaluate",
    )
    parser.add_argument(
        "--side",
        type=positive,
        default=4000,
        metavar="PIXELS",
        help="to which the longer side is enlarged (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    return exit_code("reduced", lambda: _run(given))


def _run(given: argparse.Namespace) -> None:
    truth = ground_truth.read(given.ground_truth, given.images)
    found = asyncio.run(_measure(given.model, truth.files, given.side))
    print(f"faces: {len(found[SAVED_AGAIN])}")
    for name, values in found.items():
        share = np.mean(np.asarray(values) >= BOUND) if values else math.nan
        print(f"{name:12} IoU at least {BOUND} for {share:.2%}, 1st percentile "
              f"{np.percentile(values or [math.nan], 1):.3f}")  # fmt: skip


async def _measure(name: str, paths: Sequence[Path], side: int) -> Mapping[str, list[float]]:
    detectors: dict[str, Detector] = {}
    try:
        for value in ("false", "auto", "true"):
            configured = settings.load(DetectionSettings, reduced_decoding=value)
            detectors[value] = open_detector(find_model(configured, name), configured)
        full = detectors["false"]
        reduced = {value: each for value, each in detectors.items() if each is not full}
        return await compare(paths, side, full, reduced)
    finally:
        for each in detectors.values():
            await each.close()


if __name__ == "__main__":
    sys.exit(main())
