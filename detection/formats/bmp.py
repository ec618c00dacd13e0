"""Reads the header of a BMP file, and refuses compressed pictures that take too long.

Pillow's decoder for run-length encoding is written in Python: a file of 1 KB takes a second for
each 20 million pixels.
"""

import struct

from detection.errors import InvalidImage, TooManyPixels
from detection.sizes import readable_pixels

MOST_RLE_PIXELS = 4_000_000
"""Of a run-length encoded picture, a rare kind of small drawings."""
_RLE8, _RLE4 = 1, 2


def check(data: bytes) -> None:
    """Raise TooManyPixels or InvalidImage for a run-length encoded picture that is too large."""
    # The size of the header, width, height, planes, bits, compression. Shorter headers (OS/2) are
    # never compressed.
    if len(data) < 34:
        return
    size, width, height, _, _, compression = struct.unpack_from("<IIiHHI", data, 14)
    if size < 40 or compression not in (_RLE8, _RLE4):
        return
    pixels = width * abs(height)
    if pixels > MOST_RLE_PIXELS:
        raise TooManyPixels(
            f"the image has {readable_pixels(pixels)} ({width} x {abs(height)}); the limit for a "
            f"compressed BMP is {readable_pixels(MOST_RLE_PIXELS)}; save it as PNG"
        )
    # The longest encoding has two bytes for each pixel and for the end of each row.
    if len(data) > 2 * (pixels + abs(height)) + 64 * 1024:
        raise InvalidImage("the compressed BMP data is longer than its pixels need")
