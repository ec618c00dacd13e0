"""Draws boxes and scores on a picture."""

from PIL import Image, ImageDraw, ImageFont

from geometry.arrays import Floats

COLOUR = (0, 230, 118)
EDGE = (0, 0, 0)
LARGEST_SIDE = 8000
"""Lines and letters grow with the image up to this side. The cost of a letter grows with the square
of its size, and that of a long, flat image would be unbounded."""


def draw_boxes(image: Image.Image, boxes: Floats, scores: Floats) -> Image.Image:
    """A copy of an RGB image with `boxes` [N, 4] in its pixels, and `scores` [N] above them.

    Lines and letters grow with the image, up to LARGEST_SIDE. A dark edge keeps them visible on any
    background. The best faces are drawn last, on top of the others.
    """
    drawn = image.copy()
    canvas = ImageDraw.Draw(drawn)
    side = min(max(image.size), LARGEST_SIDE)
    line = max(2, round(side / 400))
    edge = max(1, line // 3)
    font = ImageFont.load_default(max(12.0, side / 60))
    for box, score in reversed(list(zip(boxes.tolist(), scores.tolist(), strict=True))):
        x1, y1, x2, y2 = box
        canvas.rectangle(
            (x1 - edge, y1 - edge, x2 + edge, y2 + edge), outline=EDGE, width=line + 2 * edge
        )
        canvas.rectangle(box, outline=COLOUR, width=line)
        label = f"{score:.2f}"
        left, top, right, bottom = canvas.textbbox((0, 0), label, font=font)
        width, height = right - left + 2 * line, bottom - top + 2 * line
        # Above the box, or inside it at the image's upper edge; never cut off at the right.
        x = max(min(x1, image.width - width), 0)
        y = y1 - height if y1 >= height else y1
        canvas.rectangle((x, y, x + width, y + height), fill=COLOUR)
        canvas.text((x + line - left, y + line - top), label, fill=EDGE, font=font)
    return drawn
