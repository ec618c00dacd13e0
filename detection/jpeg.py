"""Counts the scans of a JPEG file (ITU-T T.81, annex B): each costs a pass over the picture."""

import re

# After the header of a scan: its data, in which 0xFF is followed by 0 or is a restart marker.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA


def scans(data: bytes, most: int) -> int:
    """The number of scans of a JPEG file's picture, counted up to one more than `most`.

    It reads the markers up to the picture's end, because data after it (a video in phones' files)
    may contain any bytes.
    """
    count = 0
    found = _NEXT_MARKER.search(data, 2)
    while found is not None and count <= most:
        kind, after = data[found.start() + 1], found.end()
        if kind == _END_OF_IMAGE:
            break
        count += kind == _START_OF_SCAN
        length = int.from_bytes(data[after : after + 2], "big")
        found = _NEXT_MARKER.search(data, after + max(length, 2))
    return count
