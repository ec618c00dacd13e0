"""Reads the blocks of a GIF file (GIF89a), and refuses files that take too long.

Pillow reads the blocks before the first picture in Python, and a block can be two bytes long.
"""

from detection.errors import InvalidImage

MOST_BLOCKS = 50_000
"""Before the first picture: of comments, colour profiles and XMP, 12 MB in full blocks."""
_EXTENSION, _PICTURE = 0x21, 0x2C


def check(data: bytes) -> None:
    """Raise InvalidImage for a file whose blocks make it take unreasonably long."""
    position, blocks = 13, 0
    if len(data) > 10 and data[10] & 0x80:
        position += 3 << ((data[10] & 7) + 1)
    while position < len(data) and data[position] != _PICTURE:
        blocks += 1
        if data[position] == _EXTENSION:
            position += 2
            while position < len(data) and data[position] and blocks <= MOST_BLOCKS:
                blocks += 1
                position += 1 + data[position]
        if blocks > MOST_BLOCKS:
            raise InvalidImage(
                f"the GIF file has more than {MOST_BLOCKS} blocks before its picture"
            )
        position += 1
