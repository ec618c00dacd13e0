"""Reads the markers of a JPEG file (ITU-T T.81, annex B), and refuses files that take too long.

libjpeg processes the whole picture once for each scan, and a scan can be 14 bytes long. Pillow
reads the segments before the first scan in Python, and joins EXIF segments one by one.
"""

import re
from collections.abc import Iterator

from detection.errors import InvalidImage

MOST_SCANS = 100
"""Encoders write about 10; libtiff has the same limit for JPEG data within TIFF."""
MOST_SEGMENTS = 5000
"""Before the first scan. A large photograph with a depth map has some hundred."""
MOST_EXIF = 32
"""EXIF segments. One has 64 KiB, and few files have more than one."""
MOST_TABLES = 64 * 1024
"""Bytes of quantization tables and frame headers before the first scan; four tables have 520."""
MOST_JUNK = 64 * 1024
"""Bytes before the first scan that are in no segment."""

# After the header of a scan: its data, in which 0xFF is followed by 0 or is a restart marker. TEM
# (0x01) has no length either.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# Reserved markers (JPG, JPG0 to JPG13): Pillow takes them to have no length, libjpeg refuses them.
_WITHOUT_LENGTH = {_START_OF_IMAGE, 0xC8, *range(0xF0, 0xFE)}
# Quantization tables, and all kinds of frame headers: those of Huffman tables and arithmetic coding
# conditions (0xC4, 0xCC) are skipped in one step.
_TABLES = {0xDB, 0xDE, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def check(data: bytes) -> None:
    """Raise InvalidImage for a file whose markers make it take unreasonably long."""
    segments = exif = tables = junk = scans = 0
    end = 2
    for kind, start, after in _markers(data):
        if kind == _START_OF_SCAN:
            scans += 1
        if scans > MOST_SCANS:
            raise InvalidImage(f"the JPEG data has more than {MOST_SCANS} scans")
        if scans:
            continue
        segments += 1
        junk += start - end
        end = after
        tables += (after - start) * (kind in _TABLES)
        exif += kind == _APP1 and data.startswith(b"Exif\0\0", start + 4)
        if segments > MOST_SEGMENTS:
            raise InvalidImage(f"the JPEG header has more than {MOST_SEGMENTS} segments")
        if exif > MOST_EXIF:
            raise InvalidImage(f"the JPEG header has more than {MOST_EXIF} EXIF segments")
        if tables > MOST_TABLES:
            raise InvalidImage(f"the JPEG header has more than {MOST_TABLES} bytes of tables")
        if junk > MOST_JUNK:
            raise InvalidImage(f"the JPEG header has more than {MOST_JUNK} bytes between segments")


def _markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each marker with its position and the end of its segment, up to the picture's end.

    Data after it (a video in phones' files) may contain any bytes.
    """
    found = _NEXT_MARKER.search(data, 2)
    while found is not None:
        kind, after = data[found.start() + 1], found.end()
        if kind == _END_OF_IMAGE:
            return
        if kind not in _WITHOUT_LENGTH:
            after += max(int.from_bytes(data[after : after + 2], "big"), 2)
        yield kind, found.start(), after
        found = _NEXT_MARKER.search(data, after)
