"""Reads the size in the header of a WebP file (RFC 9649).

Pillow's decoder allocates the canvas while it opens a file, before anyone can look at its size.
"""


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height of the canvas; None if the header is broken."""
    match data[12:16]:
        case b"VP8X" if len(data) >= 30:
            return _number(data, 24, 3) + 1, _number(data, 27, 3) + 1
        case b"VP8L" if len(data) >= 25:
            bits = _number(data, 21, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 " if len(data) >= 30:
            return _number(data, 26, 2) & 0x3FFF, _number(data, 28, 2) & 0x3FFF
    return None


def _number(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "little")
