"""The photographs of a folder: most of them calibrate, the others measure."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.errors import RequestError
from detection.images import decode
from detection.letterbox import Pixels, letterbox
from detection.limits import MAX_PIXELS
from detection.sources import find
from sfd.files import sha256
from store.model import Model, ModelError

Progress = Callable[[str], object]

HELD_BACK = 4
"""One of so many images is held back to measure."""
MINIMUM = 20
"""The fewest images: 15 for the calibration and 5 to measure."""
MOST_CALIBRATING = 300
MOST_MEASURED = 100


@dataclass(frozen=True, slots=True)
class Images:
    """The image files of a folder, divided by their hashes, so that their names don't matter."""

    calibrating: Sequence[Path]
    held_back: Sequence[Path]
    sha256: str
    """Hash of the sorted hashes of the calibrating files."""
    max_pixels: int = MAX_PIXELS
    """An image with more is refused."""

    @property
    def steps(self) -> int:
        """How often `quantization.making.make` reports progress."""
        return len(self.calibrating) + len(self.held_back) + 2


def divide(folder: Path, max_pixels: int = MAX_PIXELS) -> Images:
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
    calibrating = [digest for place, digest in enumerate(digests) if place % HELD_BACK]
    calibrating = calibrating[:MOST_CALIBRATING]
    return Images(
        [files[digest] for digest in calibrating],
        [files[digest] for digest in held_back],
        hashlib.sha256("\n".join(calibrating).encode()).hexdigest(),
        max_pixels,
    )


def inputs(
    model: Model, files: Sequence[Path], max_pixels: int, progress: Progress
) -> Iterator[Pixels]:
    """The network's input of each file, as the service makes it: [H, W, C] uint8.

    Calls `progress` with the name of each file. Raises ModelError for one that can't be read.
    """
    wanted = model.input
    for file in files:
        progress(file.name)
        try:
            image = decode(file.read_bytes(), max_pixels=max_pixels, background=wanted.mean_rgb)
        except (RequestError, OSError) as error:
            raise ModelError(f"{file}: {error}; remove it from the folder") from None
        yield letterbox(image, wanted.width, wanted.height, wanted.channels, wanted.mean_rgb)[0]


def _hash(file: Path) -> str:
    try:
        return sha256(file)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror or error}") from None
