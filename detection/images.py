"""Decodes image files to upright RGB images, and handles broken files."""

import logging
import math
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from detection.errors import (
    InvalidImage,
    OutOfMemory,
    RequestError,
    TooManyPixels,
    UnsupportedMediaType,
)
from detection.formats import avif, bmp, gif, jpeg, libtiff, media_types, png, tiff, webp
from detection.letterbox import Colour
from detection.orientation import Turn, turn_of, turned, turned_size
from detection.sizes import readable_pixels
from geometry.arrays import F64, Floats

FORMATS = tuple(kind.upper() for kind in media_types.READ)
"""Pillow's names of the supported formats; its other decoders are not used."""

LONGEST_SIDE = 65_535
"""Most pixels of a side. JPEG and GIF cannot have more, and no camera or panorama comes near it.
Pictures of one row cost far more than their pixels: lines, letters and tables grow with a side."""

MOST_CODED = 4
"""The parts of an AVIF file together have at most this many times the pixels of the largest image.
Besides the picture there may be transparency, a gain map, and previews."""

_BAND = 256
_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}

# Load the plugins now: otherwise Pillow imports them while it serves requests. Its `open` imports
# those of `preinit`, if nobody has called that.
Image.preinit()
for _plugin in ("Jpeg", "Mpo", "Png", "WebP", "Bmp", "Gif", "Tiff", "Avif"):
    import_module(f"PIL.{_plugin}ImagePlugin")
# Our own limit replaces Pillow's: it is checked before decoding, and users can raise it.
Image.MAX_IMAGE_PIXELS = None
# Pillow and libtiff complain about odd metadata; a client's files must not fill our log. The filter
# is global, since `warnings.catch_warnings` is not safe in threads.
libtiff.silence()
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as it is stored, maybe decoded at a reduced scale."""

    stored: Image.Image
    turn: Turn
    """What turns it upright."""
    reduction: int
    """How many pixels of the original, in width and in height, each of its pixels stands for."""
    width: int
    """Of the upright original, as `height`."""
    height: int

    def upright(self) -> Image.Image:
        """The picture turned upright, at the scale at which it was decoded."""
        return turned(self.stored, self.turn)


def decode(data: bytes, *, max_pixels: int, background: Colour) -> Image.Image:
    """The first frame of an image file, upright, at its full size; see `decode_to_fit`."""
    return decode_to_fit(data, None, max_pixels=max_pixels, background=background).upright()


def decode_to_fit(
    data: bytes, box: tuple[int, int] | None, *, max_pixels: int, background: Colour
) -> Decoded:
    """The first frame of an image file, as a Pillow image of mode RGB, and how to turn it upright.

    The format is recognised from the bytes. Transparency is flattened on the colour `background`,
    16-bit and floating-point samples are scaled to 8 bits. Colour profiles are ignored.

    JPEG data decodes much faster at a half or a quarter of the sides. With a `box` (width, height),
    it may be decoded at a reduced scale, at which it is still at least as large as if it were
    shrunk to fit the box.

    Raises InvalidImage, TooManyPixels (before decoding), UnsupportedMediaType or OutOfMemory,
    nothing else.
    """
    kind = media_types.kind(data)
    if not data:
        raise InvalidImage("the file is empty")
    if kind is not None and kind not in media_types.READ:
        raise UnsupportedMediaType(f"this is {kind}, not one of {', '.join(media_types.READ)}")
    try:
        return _decode(data, box, max_pixels, background)
    except RequestError:
        raise
    except UnidentifiedImageError:
        raise InvalidImage(
            f"the {kind} header is broken or uses an unsupported variant"
            if kind
            else "not a supported image format"
        ) from None
    except Exception as error:
        # Pillow's decoders raise nearly anything on broken files: OSError, SyntaxError,
        # struct.error, zlib.error, KeyError, OverflowError…
        if _lacks_memory(error, data):
            raise OutOfMemory("too little memory is left for this image; try again later") from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidImage(f"the {kind or 'image'} data is broken: {reason}") from None


def pixels(data: bytes) -> int | None:
    """How many pixels an image file has according to its header; None if it can't be read."""
    if media_types.kind(data) == "WebP" and (size := webp.size(data)):
        return size[0] * size[1]
    try:
        check(data, sys.maxsize)
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return image.width * image.height
    except Exception:
        # As in `decode_to_fit`.
        return None


def _lacks_memory(error: Exception, data: bytes) -> bool:
    """Whether decoding failed for want of memory, and not because of the file."""
    # Pillow's text of its codecs' status -9; libtiff's has no text.
    if isinstance(error, MemoryError) or "out of memory" in str(error):
        return True
    if "could not create decoder object" in str(error) and (size := webp.size(data)):
        # libwebp does not say why. It needs two canvases of four bytes for each pixel.
        try:
            np.empty((2, *size, 4), np.uint8)
        except MemoryError:
            return True
    return False


def _decode(
    data: bytes, box: tuple[int, int] | None, max_pixels: int, background: Colour
) -> Decoded:
    check(data, max_pixels)
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        size = image.size
        check_size(*size, max_pixels)
        # MPO is JPEG with more pictures behind the first, as phones write it.
        is_jpeg = image.format in ("JPEG", "MPO")
        reduction = 1
        if box is not None and is_jpeg:
            reduction = _reduce(image, turned_size(box, turn_of(image)))
        image.load()
        flat, turn = flatten(image, background), turn_of(image)
        # Pillow turns a TIFF upright while loading it, so its size is known only then.
        full_size = turned_size(size if is_jpeg else flat.size, turn)
        return Decoded(flat, turn, reduction, *full_size)


def check(data: bytes, max_pixels: int) -> None:
    """Raise RequestError for a file whose structure shows that Pillow would take too long.

    Pillow must not open a file that has not passed: it reads metadata while it opens a file.
    """
    match media_types.kind(data):
        case "JPEG":
            jpeg.check(data)
        case "PNG":
            png.check(data)
        case "GIF":
            gif.check(data)
        case "BMP":
            bmp.check(data)
        case "TIFF":
            tiff.check(data)
        case "AVIF":
            sizes = avif.coded_sizes(data)
            for width, height in sizes:
                check_size(width, height, max_pixels)
            if sum(width * height for width, height in sizes) > MOST_CODED * max_pixels:
                raise TooManyPixels("the parts of the image have too many pixels together")
        case "WebP" if size := webp.size(data):
            check_size(*size, max_pixels)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise TooManyPixels for a size that is too large."""
    if width * height > max_pixels:
        raise TooManyPixels(
            f"the image has {readable_pixels(width * height)} ({width} x {height}); the limit "
            f"is {readable_pixels(max_pixels)}"
        )
    if max(width, height) > LONGEST_SIDE:
        raise TooManyPixels(
            f"the image has {width} x {height} pixels; no side may be longer than {LONGEST_SIDE}"
        )


def _reduce(image: Image.Image, box: tuple[int, int]) -> int:
    """Let libjpeg decode at 1/2, 1/4 or 1/8 of the sides if that is large enough for `box`.

    Returns 2, 4 or 8, or 1 if it will decode in full.
    """
    scale = min(box[0] / image.width, box[1] / image.height)
    if scale >= 1:
        return 1
    width = image.width
    drafted = image.draft(None, (math.ceil(width * scale), math.ceil(image.height * scale)))
    # Pillow returns the original's size at this scale, not rounded up as the picture's is.
    return 1 if drafted is None else round(width / drafted[1][2])


def flatten(image: Image.Image, background: Colour) -> Image.Image:
    """A picture of any mode in RGB, as in `decode`; `image` itself if it is RGB already.

    Raises UnsupportedMediaType.
    """
    mode = image.mode
    alpha = mode in _ALPHA_MODES or (mode in _MODES and "transparency" in image.info)
    if mode == "RGB" and not alpha:
        return image
    if mode in ("I", "F"):
        low, high = _range(image)
    elif not (alpha or mode in _MODES or mode.startswith("I;16")):
        raise UnsupportedMediaType(f"an image with {mode} samples")
    canvas = Image.new("RGB", image.size)
    for top, band in enumerate(_bands(image)):
        if mode.startswith("I;16"):
            rgb = _gray(np.asarray(band).astype(np.float32) / 257)
        elif mode in ("I", "F"):
            rgb = _gray(_to_byte_range(_samples(band), low, high, floating=mode == "F"))
        elif alpha:
            # Pillow converts premultiplied gray only to plain gray with alpha.
            transparent = (band.convert("LA") if mode == "La" else band).convert("RGBA")
            under = Image.new("RGBA", transparent.size, (*background, 255))
            rgb = Image.alpha_composite(under, transparent).convert("RGB")
        else:
            rgb = band.convert("RGB")
        canvas.paste(rgb, (0, top * _BAND))
    return canvas


def _bands(image: Image.Image) -> Iterator[Image.Image]:
    """The picture in pieces of _BAND rows, from the top, so that conversions need little memory."""
    for top in range(0, image.height, _BAND):
        yield image.crop((0, top, image.width, min(top + _BAND, image.height)))


def _gray(values: Floats) -> Image.Image:
    return Image.fromarray(np.rint(values).astype(np.uint8), "L").convert("RGB")


def _samples(image: Image.Image) -> F64:
    values = np.asarray(image).astype(np.float64)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _range(image: Image.Image) -> tuple[float, float]:
    """The smallest and the largest sample."""
    bands = [(float(values.min()), float(values.max())) for values in map(_samples, _bands(image))]
    return min(low for low, _ in bands), max(high for _, high in bands)


def _to_byte_range(values: F64, low: float, high: float, *, floating: bool) -> F64:
    """Samples of unstated range, from `low` to `high` in the whole picture, as 0-255.

    The file does not state which value is white. It is 1 (floating point), 255 or 65535: the first
    that no sample exceeds. Otherwise the range from the smallest to the largest sample is
    stretched.
    """
    for white in (1, 255, 65535) if floating else (255, 65535):
        if low >= 0 and high <= white:
            return values * (255 / white)
    if high == low:
        return np.zeros_like(values)
    return (values - low) * (255 / (high - low))
