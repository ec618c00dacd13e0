"""The format of a rendered picture, and the ZIP file of crops."""

from collections.abc import Sequence
from io import BytesIO
from zipfile import ZipFile

from detection.formats import media_types
from service import negotiation
from service.errors import NotAcceptable

PNG, JPEG, ZIP = "image/png", "image/jpeg", "application/zip"
FORMATS = {PNG: "PNG", JPEG: "JPEG"}
"""Pillow's names of the formats."""
# JPEG_MAX_DIMENSION of libjpeg.
JPEG_LONGEST_SIDE = 65_500


def media_type(accept: str, data: bytes, width: int, height: int) -> str:
    """PNG or JPEG, as the Accept header asks; if it allows both, the format of the image.

    Raises NotAcceptable.
    """
    offered = [PNG, JPEG] if media_types.kind(data) == "PNG" else [JPEG, PNG]
    if max(width, height) > JPEG_LONGEST_SIDE:
        offered.remove(JPEG)
    chosen = negotiation.choose(accept, offered)
    if chosen is None:
        raise NotAcceptable(f"Accept must allow {' or '.join(sorted(offered))}")
    return chosen


def check_zip(accept: str) -> None:
    """Raise NotAcceptable unless an Accept header allows a ZIP file."""
    if negotiation.choose(accept, [ZIP]) is None:
        raise NotAcceptable(f"render=crops answers with {ZIP}")


def archive(crops: Sequence[bytes], answer: str) -> bytes:
    """A ZIP file: face-001.jpg and so on, best first, and faces.json with the usual answer."""
    file = BytesIO()
    # JPEG data does not get smaller.
    with ZipFile(file, "w") as made:
        for number, crop in enumerate(crops, 1):
            made.writestr(f"face-{number:03}.jpg", crop)
        made.writestr("faces.json", answer)
    return file.getvalue()
