"""Reads the chunks of a PNG file (ISO/IEC 15948), and refuses files that take too long.

Pillow reads chunks in Python, and decompresses each text and each colour profile, up to 1 MiB of
each, also where it has one already.
"""

from detection.errors import InvalidImage

MOST_CHUNKS = 50_000
"""libpng writes chunks of 8 KiB, so that a file of 20 MiB has 2,500."""
MOST_COMPRESSED = 64
"""Chunks whose content is compressed, without the pixels. Few files have more than ten."""
_COMPRESSED = (b"iCCP", b"zTXt", b"iTXt")


def check(data: bytes) -> None:
    """Raise InvalidImage for a file whose chunks make it take unreasonably long."""
    chunks = compressed = 0
    position = 8
    while position + 8 <= len(data):
        kind = data[position + 4 : position + 8]
        chunks += 1
        compressed += kind in _COMPRESSED
        if chunks > MOST_CHUNKS:
            raise InvalidImage(f"the PNG file has more than {MOST_CHUNKS} chunks")
        if compressed > MOST_COMPRESSED:
            raise InvalidImage(
                f"the PNG file has more than {MOST_COMPRESSED} colour profiles and texts"
            )
        if kind == b"IEND":
            return
        # Length, type, data and checksum.
        position += 12 + int.from_bytes(data[position : position + 4], "big")
