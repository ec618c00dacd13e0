"""In which format a rendered picture is sent."""

from detection import media_types
from detection.rendering import JPEG, PNG
from service import negotiation
from service.errors import NotAcceptable

# JPEG_MAX_DIMENSION of libjpeg.
JPEG_LONGEST_SIDE = 65_500


def media_type(accept: str, data: bytes, width: int, height: int) -> str:
    """PNG or JPEG, as an Accept header wants it; where it leaves the choice, as the image came.

    Raises NotAcceptable.
    """
    offered = [PNG, JPEG] if media_types.kind(data) == "PNG" else [JPEG, PNG]
    if max(width, height) > JPEG_LONGEST_SIDE:
        offered.remove(JPEG)
    chosen = negotiation.choose(accept, offered)
    if chosen is None:
        raise NotAcceptable(f"the picture is sent as {' or '.join(sorted(offered))}")
    return chosen
