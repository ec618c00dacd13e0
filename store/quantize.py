"""Makes a model's `model.int8.onnx`, and measures its speed and how well its faces agree.

The only module of this package that needs `detection`: it decodes images and runs the network.
"""

import dataclasses
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.quantization import METHOD, quantize
from detection.agreement import measure
from detection.cpu import available_cpus
from detection.errors import RequestError
from detection.images import decode
from detection.letterbox import Pixels, letterbox
from detection.precision import Precision, lacking, processor_features, processor_name
from detection.providers import ProviderName, Use
from detection.session import INPUT, Predictions, Session, open_file, open_session
from detection.sources import find
from sfd.files import sha256, write_atomically
from store.build import write
from store.int8 import Agreement, Calibration, Int8, Speed
from store.model import INT8_FILE, Model, ModelError, check

Progress = Callable[[str], object]

HELD_BACK = 4
"""One of so many images is held back to measure."""
MINIMUM = 20
"""The fewest images: 15 for the calibration and 5 to measure."""
MOST_CALIBRATING = 300
MOST_MEASURED = 100
MAX_PIXELS = 50_000_000
RUNS = 10
"""Inferences of each file, to measure its speed."""


@dataclass(frozen=True, slots=True)
class Images:
    """The image files of a folder, divided by their hashes, so that their names don't matter."""

    calibrating: Sequence[Path]
    held_back: Sequence[Path]
    sha256: str
    """Hash of the sorted hashes of the calibrating files."""

    @property
    def steps(self) -> int:
        """How often `make` reports progress."""
        return len(self.calibrating) + len(self.held_back) + 2


def divide(folder: Path) -> Images:
    """The images of a folder and of the folders in it; equal files count once.

    Raises UsageError for a folder without images, and ModelError if it is no folder or has too few.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: is not a folder; --images names a folder of photographs")
    files = {_hash(Path(source.name)): Path(source.name) for source in find([str(folder)])}
    if len(files) < MINIMUM:
        raise ModelError(
            f"{folder}: has {len(files)} different images, but the calibration needs at least "
            f"{MINIMUM}; 200 are better"
        )
    digests = sorted(files)
    held_back = digests[::HELD_BACK][:MOST_MEASURED]
    calibrating = [digest for digest in digests if digest not in digests[::HELD_BACK]]
    calibrating = calibrating[:MOST_CALIBRATING]
    return Images(
        [files[digest] for digest in calibrating],
        [files[digest] for digest in held_back],
        hashlib.sha256("\n".join(calibrating).encode()).hexdigest(),
    )


def make(
    model: Model, images: Images, *, force: bool = False, progress: Progress = lambda _: None
) -> Int8:
    """Write `model.int8.onnx`, and in `build.json` what it was made from and what it costs.

    Each file is written whole or not at all. If the process dies between the two, `sfd models
    verify` reports that they don't match. Raises ModelError if the model is not built, has an int8
    file already, or finds no face to compare; and SfdError for an image that can't be read, or a
    processor on which an int8 file gives other results.
    """
    build = check(model)
    if model.int8.exists() and not force:
        raise ModelError(f"{model.int8} already exists; add --force to overwrite it")
    reason = lacking(Precision.INT8, processor_features())
    if reason is not None:
        raise ModelError(f"{model.name}: can't be measured here: {reason}")
    content = quantize(model.onnx, _inputs(model, images.calibrating, progress))
    progress("quantizes")
    agreement, speed = _measured(model, images, content, progress)
    made = Int8(
        sha256=hashlib.sha256(content).hexdigest(),
        source=build.sha256,
        calibration=Calibration(len(images.calibrating), images.sha256, METHOD),
        agreement=agreement,
        speed=speed,
    )
    write_atomically(model.int8, content)
    write(model, dataclasses.replace(build, int8=made))
    return made


def _measured(
    model: Model, images: Images, content: bytes, progress: Progress
) -> tuple[Agreement, Speed]:
    threads = available_cpus()
    reference = open_session(model, ProviderName.CPU, threads, 1)
    with tempfile.TemporaryDirectory(prefix="sfd-quantize-") as folder:
        file = Path(folder) / INT8_FILE
        file.write_bytes(content)
        opened = open_file(file, ProviderName.CPU, Use(INPUT, "", 1, threads))
        quantized = dataclasses.replace(reference, onnx=opened)
    expected: list[Predictions] = []
    found: list[Predictions] = []
    for image in _inputs(model, images.held_back, progress):
        expected += reference.run([image])
        found += quantized.run([image])
    agreement = measure(model, expected, found)
    if agreement is None:
        raise ModelError(
            f"{model.name}: no face in the {len(images.held_back)} images that were held back to "
            "measure the accuracy; give photographs of faces"
        )
    progress("measures the speed")
    return agreement, _speed(reference, quantized, threads)


def _speed(reference: Session, quantized: Session, threads: int) -> Speed:
    """The medians of inferences that alternate, so that a busy machine slows both alike."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        for session, measured in zip((reference, quantized), seconds, strict=True):
            started = time.perf_counter()
            session.run_blank(1)
            measured.append(time.perf_counter() - started)
    float32_ms, int8_ms = (statistics.median(each) * 1000 for each in seconds)
    return Speed(
        float32_ms=round(float32_ms, 2),
        int8_ms=round(int8_ms, 2),
        ratio=round(float32_ms / int8_ms, 2),
        threads=threads,
        processor=processor_name(),
    )


def _inputs(model: Model, files: Sequence[Path], progress: Progress) -> Iterator[Pixels]:
    """The network's input of each file, as the service makes it."""
    wanted = model.input
    for file in files:
        progress(file.name)
        try:
            image = decode(file.read_bytes(), max_pixels=MAX_PIXELS, background=wanted.mean_rgb)
        except (RequestError, OSError) as error:
            raise ModelError(f"{file}: {error}; remove it from the folder") from None
        yield letterbox(image, wanted.width, wanted.height, wanted.channels, wanted.mean_rgb)[0]


def _hash(file: Path) -> str:
    try:
        return sha256(file)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror or error}") from None
