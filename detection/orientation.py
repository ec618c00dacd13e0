"""How a stored picture is turned upright."""

from PIL import Image

_ORIENTATION = 0x0112
# EXIF 2.32, section 4.6.4: where row 0 and column 0 of the stored picture belong.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}

Turn = Image.Transpose | None
"""What turns a stored picture upright; None if it is upright."""


def turn_of(image: Image.Image) -> Turn:
    """The turn that the EXIF orientation asks for; None if there is none or it is broken."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:
        # A broken EXIF block can raise nearly anything, and the pixels are good.
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def turned(image: Image.Image, turn: Turn) -> Image.Image:
    """The upright picture."""
    return image if turn is None else image.transpose(turn)


def swaps(turn: Turn) -> bool:
    """Whether a turn exchanges width and height."""
    return turn in _SWAPPING


def turned_size(size: tuple[int, int], turn: Turn) -> tuple[int, int]:
    """Width and height of the upright picture, from those of the stored one, or the reverse."""
    return size[::-1] if swaps(turn) else size
