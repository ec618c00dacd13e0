"""The pictures that a conversion is judged on: the same ones each time."""

from collections.abc import Mapping

import numpy as np

from convert.caffe.network import Network
from convert.graph import BATCH
from convert.translate import TIME, input_shapes
from geometry.arrays import F64, U8, Bools

SEED = 20
ROIS = 5
"""How many regions of interest a picture has where the prototxt leaves the number open."""
Images = U8


def pictures(channels: int, height: int, width: int, seed: int = SEED) -> Mapping[str, Images]:
    """Named images [height, width, channels] uint8, RGB where there are three channels.

    Noise excites every channel; the constant shows errors of padding; the gradient those of
    layout and channel order; the impulse those of placement; the scene has faces to detect.
    """
    random = np.random.default_rng(seed)
    shape = (height, width, channels)
    rows = np.linspace(0, 255, height)[:, None, None]
    columns = np.linspace(0, 255, width)[None, :, None]
    weights = (
        np.linspace(0, 1, channels)[None, None, :] if channels > 1 else np.full((1, 1, 1), 0.5)
    )
    impulse = np.zeros(shape, np.uint8)
    impulse[height // 2, width // 3] = 255
    return {
        "noise": random.integers(0, 256, shape, np.uint8),
        "constant": np.full(shape, 200, np.uint8),
        "gradient": (rows * weights + columns * (1 - weights)).astype(np.uint8),
        "impulse": impulse,
        "scene": _scene(random, channels, height, width),
    }


def single_shape(network: Network, name: str) -> tuple[int, ...]:
    """The shape of an input of the network for one picture."""
    stated, first = network.inputs[name], input_shapes(network)[name][0]
    if first == BATCH:
        return (1, *stated[1:])
    if isinstance(first, str) and first != TIME and stated[0] == 1:
        return (ROIS, *stated[1:])
    return stated


def _scene(random: np.random.Generator, channels: int, height: int, width: int) -> Images:
    """Drawn faces of several sizes on a smooth, slightly noisy background."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    background = 110 + 50 * np.sin(rows / height * 5)[..., None] * np.ones(3)
    picture = background + random.normal(0, 6, (height, width, 3))
    short = min(height, width)
    for across, down, size in ((0.3, 0.4, 0.4), (0.72, 0.3, 0.22), (0.7, 0.75, 0.12)):
        x = (columns - across * width) / (size * short / 2)
        y = (rows - down * height) / (size * short / 2)
        radius = np.hypot(x / 0.75, y)
        _paint(picture, radius < 1.08, (60, 40, 30))
        _paint(picture, np.hypot(x / 0.7, (y - 0.12) / 0.9) < 1, (224, 182, 158))
        for side in (-0.3, 0.3):
            _paint(picture, np.hypot((x - side) / 0.16, (y + 0.1) / 0.09) < 1, (245, 245, 245))
            _paint(picture, np.hypot(x - side, y + 0.1) < 0.08, (40, 30, 30))
            _paint(picture, np.hypot((x - side) / 0.2, (y + 0.3) / 0.04) < 1, (80, 55, 45))
        _paint(picture, (np.abs(x) < 0.05 + 0.05 * y) & (y > -0.1) & (y < 0.25), (196, 150, 128))
        _paint(picture, np.hypot(x / 0.28, (y - 0.52) / 0.08) < 1, (170, 70, 70))
    colours: Images = np.clip(picture, 0, 255).astype(np.uint8)
    if channels == 3:
        return colours
    gray: Images = colours.mean(axis=2, keepdims=True).astype(np.uint8)
    return np.repeat(gray, channels, axis=2)


def _paint(picture: F64, where: Bools, colour: tuple[int, ...]) -> None:
    picture[where] = 0.3 * picture[where] + 0.7 * np.asarray(colour, np.float64)
