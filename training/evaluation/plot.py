"""Plots precision-recall curves, with Pillow alone."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.evaluation.curves import Curve

SIZE = (900, 640)
PLOT = (70, 50, 870, 570)
"""Left, top, right and bottom of the axes, in pixels."""

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""The palette of Okabe and Ito, made for all kinds of colour vision."""


def draw(curves: Sequence[Curve], title: str) -> bytes:
    """A PNG of all curves: recall on the x axis, precision on the y axis, both from 0 to 1."""
    picture = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(16)
    left, top, right, bottom = PLOT
    for tick in np.linspace(0, 1, 6):
        x, y = left + tick * (right - left), bottom - tick * (bottom - top)
        pen.line([(x, top), (x, bottom)], "#dddddd")
        pen.line([(left, y), (right, y)], "#dddddd")
        pen.text((x, bottom + 8), f"{tick:.1f}", "black", font, anchor="mt")
        pen.text((left - 8, y), f"{tick:.1f}", "black", font, anchor="rm")
    pen.rectangle(PLOT, outline="black")
    pen.text((right, top - 14), title, "black", font, anchor="rs")
    pen.text(((left + right) / 2, bottom + 34), "recall", "black", font, anchor="mt")
    pen.text((8, top - 14), "precision", "black", font, anchor="ls")
    for index, curve in enumerate(curves):
        colour = _COLOURS[index % len(_COLOURS)]
        known = np.flatnonzero(curve.recall > 0)
        xs = left + curve.recall[known] * (right - left)
        ys = bottom - curve.precision[known] * (bottom - top)
        if len(known) > 1:
            pen.line(list(zip(xs.tolist(), ys.tolist(), strict=True)), colour, 3)
        label = f"{curve.name}: AP {curve.average_precision:.3f}, {curve.faces} faces"
        y = bottom - 24 * (len(curves) - index)
        pen.line([(left + 12, y + 8), (left + 40, y + 8)], colour, 3)
        pen.text((left + 48, y + 8), label, "black", font, anchor="lm")
    png = BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()
