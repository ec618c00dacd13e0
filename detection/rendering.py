"""Renders the picture of an answer: faces drawn or hidden, encoded again, without metadata."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Literal

from PIL import Image, ImageCms

from detection import images
from detection.crops import cut
from detection.drawing import draw_boxes
from detection.errors import OutOfMemory, RequestError
from detection.letterbox import Colour
from detection.redaction import hide
from geometry.arrays import Floats

Style = Literal["boxes", "blur", "pixelate"]

JPEG_QUALITY = 90
# A higher level saves few bytes in photographs and takes several times as long.
PNG_COMPRESSION = 3
# A display profile has a few hundred to some ten thousand bytes.
LARGEST_PROFILE = 2**20
# What ImageCms can convert into RGB and `images.decode` has not converted by itself.
_RGB_MODES = {"RGB", "RGBA", "RGBX", "P", "PA"}


class UnwritableFile(RequestError):
    """A picture can't be written."""

    slug = "unwritable-file"
    title = "Unwritable file"


def draw(
    data: bytes,
    boxes: Floats,
    scores: Floats,
    style: Style,
    *,
    max_pixels: int,
    background: Colour,
    check: Callable[[], None] = lambda: None,
) -> Image.Image:
    """The upright picture of an image file with its faces drawn or hidden, at its full size.

    `boxes` [N, 4] in pixels of the upright image, `scores` [N]. The result has no EXIF block
    (position, camera, thumbnail of the visible faces), no comment and no colour profile: colours
    are converted to sRGB. `check` is called before each face that is hidden; it may raise to stop.
    """
    image = in_srgb(data, max_pixels=max_pixels, background=background)
    if style == "boxes":
        drawn = draw_boxes(image, boxes, scores)
    else:
        drawn = hide(image, boxes, style, check)
    # Pillow's encoders write what they find here.
    drawn.info = {}
    return drawn


def crops(
    data: bytes,
    boxes: Floats,
    *,
    margin: float,
    size: int,
    max_pixels: int,
    background: Colour,
) -> Iterator[bytes]:
    """A JPEG file of each face of an image file: `detection.crops.cut`, in sRGB, no metadata."""
    image = in_srgb(data, max_pixels=max_pixels, background=background)
    # Pillow's encoders write what they find here.
    image.info = {}
    for crop in cut(image, boxes, margin=margin, size=size):
        yield encode(crop, "JPEG")


def in_srgb(data: bytes, *, max_pixels: int, background: Colour) -> Image.Image:
    """The upright picture of an image file, its colours converted to sRGB."""
    image = images.decode(data, max_pixels=max_pixels, background=background)
    return to_srgb(image, profile(data))


def encode(picture: Image.Image, kind: str) -> bytes:
    """The file of a picture in a format by Pillow's name. Raises UnwritableFile."""
    file = BytesIO()
    options = {"PNG": {"compress_level": PNG_COMPRESSION}, "JPEG": {"quality": JPEG_QUALITY}}
    try:
        picture.save(file, kind, **options.get(kind, {}))
    except MemoryError:
        raise OutOfMemory("too little memory to encode this picture; try again later") from None
    except (OSError, ValueError) as error:
        raise UnwritableFile(f"the picture cannot be written as {kind}: {error}") from None
    return file.getvalue()


def profile(data: bytes) -> bytes | None:
    """The colour profile of the RGB samples of an image file; None for other samples."""
    try:
        with Image.open(BytesIO(data), formats=images.FORMATS) as image:
            found = image.info.get("icc_profile") if image.mode in _RGB_MODES else None
    except Exception:
        # The pixels are decoded already. With broken metadata only the colours may be off.
        return None
    return found if isinstance(found, bytes) and 0 < len(found) <= LARGEST_PROFILE else None


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """RGB samples of a profile as sRGB; as they are without one, or with a broken one."""
    if icc is None:
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(icc))
        if source.profile.xcolor_space.strip() != "RGB":
            return image
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted
