"""`python -m benchmarks.corruptions`: average precision on images with noise, blur, weather.

The 15 corruptions of Hendrycks and Dietterich (arXiv:1903.12261), as the package imagecorruptions
makes them, at severities 1, 3 and 5. An image is first shrunk to fit the letterbox, so that a
severity means the same for large and small photographs. A seed of its own makes each corrupted
image the same in every run.

It needs what requirements/corruptions.txt adds:
`python -m pip install --no-deps --require-hashes -r requirements/corruptions.txt`.
"""

import argparse
import contextlib
import json
import multiprocessing
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks import markdown
from benchmarks.ending import exit_code
from detection.cpu import available_cpus
from geometry.letterbox import Letterbox
from sfd.arguments import positive
from sfd.errors import SfdError, UsageError
from sfd.files import scratch, write_atomically
from training.data.images import opened, upright, upright_size
from training.evaluation import ground_truth
from training.evaluation.curves import Detections
from training.evaluation.ground_truth import GroundTruth
from training.evaluation.local import LocalPredictor
from training.evaluation.measurement import look
from training.evaluation.predictor import Predictor

NAMES = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
SEVERITIES = (1, 3, 5)
SEEDED = ("glass_blur", "impulse_noise")
"""These take a seed as an argument. The others use NumPy's global generator."""
SIDE = 640
LEAST_SIDE = 32
"""The corruptions fail on images of a few pixels."""
MIN_SCORE = 0.01


def corrupt(file: Path, name: str, severity: int, target: Path) -> None:
    """Write a corrupted copy of an image, shrunk to fit 640 × 640 pixels, as PNG."""
    from imagecorruptions import corruptions

    with opened(file) as image:
        picture = upright(image)
    box = Letterbox.fit(*picture.size, SIDE, SIDE)
    if box.width < picture.width:
        picture = picture.resize((box.width, box.height), Image.Resampling.BILINEAR)
    if min(picture.size) < LEAST_SIDE:
        raise SfdError(f"{file}: is too small to be corrupted; leave it out of the list")
    seed = zlib.crc32(f"{file.name} {name} {severity}".encode())
    np.random.seed(seed)
    more = {"seed": seed} if name in SEEDED else {}
    pixels = np.asarray(getattr(corruptions, name)(picture, severity, **more))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(target, compress_level=1)


def corrupted(
    pool: ProcessPoolExecutor, files: Sequence[Path], name: str, severity: int, folder: Path
) -> list[Path]:
    """Corrupted copies of all files, in order."""
    targets = [folder / f"{index}.png" for index in range(len(files))]
    count = len(files)
    list(pool.map(corrupt, files, [name] * count, [severity] * count, targets))
    return targets


def enlarged(found: Detections, file: Path, copy: Path) -> Detections:
    """Detections in the copy, as boxes in the original."""
    with opened(file) as image, opened(copy) as small:
        scale = np.divide(upright_size(image), small.size)
    return Detections(found.boxes * np.tile(scale, 2), found.scores)


def rows(
    predictors: Sequence[Predictor],
    labels: GroundTruth,
    corruptions: Sequence[tuple[str, int]],
    keep: Path | None = None,
) -> list[dict[str, Any]]:
    """A row for each corruption and model: average precision by subset."""
    measured = []
    # Forking is not safe beside the threads of the detectors.
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(available_cpus(), context) as pool,
        tqdm(corruptions, unit="corruption", disable=None, leave=False) as bar,
    ):
        for name, severity in bar:
            with scratch("corruptions") as folder:
                copies = corrupted(pool, labels.files, name, severity, Path(folder))
                for predictor in predictors:
                    found = [
                        enlarged(*each)
                        for each in zip(
                            look(predictor, copies, MIN_SCORE, keep),
                            labels.files,
                            copies,
                            strict=True,
                        )
                    ]
                    values = {
                        subset: round(curve.average_precision, 4)
                        for subset, curve in labels.curves(found).items()
                    }
                    measured.append(
                        {
                            "corruption": name,
                            "severity": severity,
                            "model": predictor.name,
                            "average_precision": values,
                        }
                    )
    return measured


def table(measured: Sequence[dict[str, Any]]) -> str:
    """A Markdown table: a line for each corruption and model, a column for each severity.

    A cell has the average precisions of all subsets.
    """
    severities = sorted({row["severity"] for row in measured})
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for row in measured:
        values = " / ".join(f"{value:.3f}" for value in row["average_precision"].values())
        cells.setdefault((row["corruption"], row["model"]), {})[row["severity"]] = values
    head = ["corruption", "model", *(f"severity {each}" for each in severities)]
    return markdown.table(
        head,
        (
            [name.replace("_", " "), model, *(own.get(each, "") for each in severities)]
            for (name, model), own in cells.items()
        ),
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit code."""
    given = _parser().parse_args(arguments)
    return exit_code("corruptions", lambda: _run(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", action="append", required=True, metavar="NAME", help="of the store; repeatable")
    add("--store", type=Path, metavar="DIR")
    add("--images", type=Path, required=True, metavar="DIR", help="as for `sfd evaluate`")
    add("--ground-truth", type=Path, required=True, metavar="PATH", help="as for `sfd evaluate`")
    add("--corruption", action="append", choices=NAMES, help="only this one; repeatable")
    add("--severity", action="append", type=positive, help="1 to 5; repeatable (default: 1, 3, 5)")
    add("--keep", type=Path, metavar="DIR", help="as for `sfd evaluate`")
    add("--output", type=Path, default=Path("corruptions"), metavar="DIR")
    return parser


def _run(given: argparse.Namespace) -> None:
    try:
        import imagecorruptions  # noqa: F401
    except ImportError as error:
        raise SfdError(
            "needs the package imagecorruptions: run python -m pip install --no-deps "
            "--require-hashes -r requirements/corruptions.txt"
        ) from error
    severities = given.severity or SEVERITIES
    if max(severities) > 5:
        raise UsageError("--severity is from 1 to 5")
    labels = ground_truth.read(given.ground_truth, given.images)
    given.output.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        predictors = []
        for name in given.model:
            predictors.append(LocalPredictor.open(name, given.store, "cpu"))
            stack.callback(predictors[-1].close)
        wanted = [(name, each) for name in given.corruption or NAMES for each in severities]
        measured = rows(predictors, labels, wanted, given.keep)
    print(table(measured), end="")
    result = {"images": len(labels.files), "corruptions": measured}
    text = json.dumps(result, indent=2) + "\n"
    write_atomically(given.output / "corruptions.json", text.encode())
    print(f"{given.output}/corruptions.json")


if __name__ == "__main__":
    sys.exit(main())
