"""Fuzzes the intake of an image file: recognise, decode, turn upright, flatten, letterbox.

Every file becomes an RGB picture within the limits, or a RequestError. Pillow may raise anything on
a broken file, and the intake turns that into a RequestError: an exception that began in our own
code is a finding nevertheless.
"""

import traceback

from harness import instrumented, main

with instrumented():
    from detection import images
    from detection.errors import RequestError
    from detection.formats import media_types
    from detection.letterbox import letterbox

MAX_PIXELS = 1_000_000
SIDE = 64
GRAY = (104, 117, 123)


def one(data: bytes) -> None:
    """Decode one file at full and at reduced size."""
    media_types.kind(data)
    sizes = {decode(data, box) for box in (None, (2 * SIDE, 2 * SIDE))}
    assert len(sizes) == 1, f"the two decodings disagree: {sizes}"


def decode(data: bytes, box: tuple[int, int] | None) -> tuple[int, int] | str:
    """The size of the picture, or the kind of the error."""
    try:
        found = images.decode_to_fit(data, box, max_pixels=MAX_PIXELS, background=GRAY)
    except RequestError as error:
        assert str(error).strip(), "an error without a message"
        cause = error.__context__
        if cause is not None and not isinstance(cause, RequestError):
            frames = traceback.extract_tb(cause.__traceback__)
            if "detection" in frames[-1].filename and not isinstance(cause, MemoryError):
                raise cause from None
        return type(error).__name__
    assert found.stored.mode == "RGB"
    assert 0 < found.width * found.height <= MAX_PIXELS
    size = found.width, found.height
    pixels, _ = letterbox(
        found.stored,
        SIDE,
        SIDE,
        3,
        GRAY,
        turn=found.turn,
        reduction=found.reduction,
        full_size=size,
    )
    assert pixels.shape == (SIDE, SIDE, 3)
    return size


if __name__ == "__main__":
    main(one)
