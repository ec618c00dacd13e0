"""Draws pictures as SVG, by matplotlib."""

from io import BytesIO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OURS, THEIRS = "#0072b2", "#e69f00"
"""Of the palette of Okabe and Ito, made for all kinds of colour vision."""


def figure(height: float) -> tuple[Figure, Axes]:
    """An empty picture, `height` inches high, and its axes."""
    drawn, (axes,) = panels(height, 1)
    return drawn, axes


def panels(height: float, count: int) -> tuple[Figure, list[Axes]]:
    """An empty picture, `height` inches high, and the axes of its panels, from left to right."""
    drawn = Figure(figsize=(8, height), layout="constrained")
    return drawn, list(drawn.subplots(1, count, squeeze=False)[0])


def svg(drawn: Figure, hashed: str) -> bytes:
    """The picture as SVG, the same bytes each time; `hashed` is the hash of what it shows."""
    data = BytesIO()
    metadata = {"Date": None, "Creator": "matplotlib", "Description": hashed}
    with matplotlib.rc_context({"svg.hashsalt": "sfd", "svg.fonttype": "none"}):
        drawn.savefig(data, format="svg", metadata=metadata)
    return data.getvalue()
