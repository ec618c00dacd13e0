"""Faces drawn on the picture they were found in."""

from PIL import Image, ImageDraw, ImageFont

from geometry.boxes import Floats

COLOUR = (0, 230, 118)


def draw_boxes(image: Image.Image, boxes: Floats, scores: Floats) -> Image.Image:
    """A copy of an RGB image with `boxes` [N, 4] in its pixels, and `scores` [N] above them."""
    drawn = image.copy()
    canvas = ImageDraw.Draw(drawn)
    line = max(1, round(max(image.size) / 400))
    font = ImageFont.load_default(max(10.0, max(image.size) / 60))
    for box, score in zip(boxes.tolist(), scores.tolist(), strict=True):
        canvas.rectangle(box, outline=COLOUR, width=line)
        label = f"{score:.2f}"
        left, top, right, bottom = canvas.textbbox((0, 0), label, font=font)
        width, height = right - left + 2 * line, bottom - top + 2 * line
        x, y = box[0], max(box[1] - height, 0)
        canvas.rectangle((x, y, x + width, y + height), fill=COLOUR)
        canvas.text((x + line - left, y + line - top), label, fill=(0, 0, 0), font=font)
    return drawn
