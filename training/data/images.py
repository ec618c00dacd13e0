"""Opens image files as the networks see them: RGB, upright, without transparency."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from detection.images import FORMATS, flatten
from detection.orientation import Turn, turn_of, turned, turned_size
from sfd.errors import SfdError

MEAN_RGB = (123, 117, 104)
"""The colour under transparency and around pictures. The networks see zeros there."""
MAX_PIXELS = 100_000_000
"""The largest image that is read. A file that claims more is taken for damaged or hostile."""


class DatasetError(SfdError):
    """A dataset, or an image of it, that can't be used."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file without decoding it yet.

    Raises DatasetError for a file that can't be read, also where decoding fails later.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DatasetError(
                    f"{path}: has {image.width} x {image.height} pixels, and at most "
                    f"{MAX_PIXELS} are read; make it smaller, or leave it out of the list"
                )
            yield image
    except DatasetError:
        raise
    except Exception as error:
        # On broken files Pillow's decoders raise nearly any kind of exception.
        raise DatasetError(f"{path}: can't be read as an image: {error}") from error


def is_upright(image: Image.Image) -> bool:
    """Whether EXIF leaves the image as it is stored: neither rotated nor mirrored."""
    return _turn(image) is None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of the picture that `upright` returns."""
    return turned_size(image.size, _turn(image))


def upright(image: Image.Image) -> Image.Image:
    """The image in RGB, rotated as EXIF says.

    The service sees the same picture, and boxes are given in its pixels.
    """
    image.load()
    return turned(flatten(image, MEAN_RGB), turn_of(image))


def _turn(image: Image.Image) -> Turn:
    """What turns an image upright that is not yet decoded."""
    # Pillow turns a TIFF while it decodes it, and already reports the turned size.
    return None if image.format == "TIFF" else turn_of(image)
