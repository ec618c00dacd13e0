"""The inputs for the comparison, always the same: pictures, and values for other inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.graph import BATCH
from convert.outputs.kinds import DATA, Built, Kind
from convert.outputs.preprocessing import IMAGES, Preprocessing
from convert.translate import TIME
from geometry.arrays import F32, F64, U8, Bools

SEED = 20
FLAT = "constant"
"""The picture whose pixels are all alike, so that channels may have no variance."""
REGIONS = 6
"""How many regions of interest an input of regions gets for each picture."""
LONGEST = 8
"""How many steps a sequence gets at most."""
RECURRENT = frozenset(["CTCGreedyDecoder", "LSTM", "Lstm", "RNN"])
"""Layers whose bottoms have the steps of a sequence on their first axis."""

Images = U8
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture, with a value for every other input."""

    feed: Mapping[str, F32]
    """What Caffe would be fed, by the network's names."""
    arrays: Arrays
    """The same for the file, by the file's names."""


def samples(built: Built) -> Mapping[str, Sample]:
    """The samples of a network by the names of their pictures."""
    network = built.network
    random = np.random.default_rng(SEED)
    first = next(iter(network.inputs))
    # Sizes and regions go with the picture, so that they are the same for each.
    others = {
        name: _values(random, built, name, network.inputs[first])
        for name in network.inputs
        if name != first
    }
    shape = network.inputs[first]
    if len(shape) != 4 or _vocabulary(built, first):
        features = {kind: _values(random, built, first, shape) for kind in pictures(1, 2, 2)}
        return {kind: _raw({first: array, **others}) for kind, array in features.items()}
    found: dict[str, Sample] = {}
    for kind, picture in pictures(*shape[1:]).items():
        feed = {first: _caffe_input(built.preprocessing, picture), **others}
        found[kind] = (
            _raw(feed) if built.kind is Kind.RAW else Sample(feed, {IMAGES: picture[None]})
        )
    return found


def together(built: Built, chosen: Sequence[Sample]) -> Arrays:
    """Several samples as one batch for the file."""
    if built.kind is not Kind.RAW:
        return {IMAGES: np.concatenate([sample.arrays[IMAGES] for sample in chosen])}
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in built.network.inputs:
        known = DATA if len(built.network.inputs) == 1 else name
        parts = [np.array(sample.feed[name]) for sample in chosen]
        opening = built.shapes[name][:1]
        if opening == (name,):
            for index, part in enumerate(parts):
                part[:, 0] = index
        counted = opening in ((BATCH,), (name,))
        arrays[known] = np.concatenate(parts) if counted else parts[0]
    return arrays


def is_sequence(built: Built) -> bool:
    """Whether the open dimension counts the steps of a sequence, which depend on each other."""
    return any(
        layer.type in RECURRENT and built.shapes[layer.bottoms[0]][0] in (BATCH, TIME)
        for layer in built.network.layers
    )


def _raw(feed: Mapping[str, F32]) -> Sample:
    if len(feed) == 1:
        return Sample(feed, {DATA: next(iter(feed.values()))})
    return Sample(feed, feed)


def _values(random: np.random.Generator, built: Built, name: str, image: Sequence[int]) -> F32:
    """Values for an input that is not a picture; `image` is the shape of the first input."""
    opening, *rest = built.shapes[name]
    if opening == name:
        corners = np.sort(random.uniform(size=(REGIONS, 2, 2)), axis=1)
        corners *= np.asarray(image[:1:-1], np.float64) - 1
        rows = np.concatenate([np.zeros((REGIONS, 1)), corners.reshape(REGIONS, 4)], axis=1)
        return rows.reshape(REGIONS, *(int(dim) for dim in rest)).round().astype(np.float32)
    length = built.network.inputs[name][0]
    if opening in (BATCH, TIME):
        length = min(length, LONGEST) if is_sequence(built) else 1
    readers = [layer for layer in built.network.layers if name in layer.bottoms[1:]]
    steps = [built.shapes[x.bottoms[0]][0] for x in readers if x.type in RECURRENT]
    if steps and isinstance(steps[0], int):
        length = steps[0]
    shape = (length, *(int(dim) for dim in rest))
    if steps:
        continues = np.ones(shape, np.float32)
        continues[0] = 0
        return continues
    words = _vocabulary(built, name)
    if words:
        return random.integers(words, size=shape).astype(np.float32)
    if any(layer.type == "Proposal" for layer in readers):
        sizes = [*image[2:], *[1] * 4][: int(np.prod(shape))]
        return np.asarray(sizes, np.float32).reshape(shape)
    return random.normal(size=shape).astype(np.float32)


def _vocabulary(built: Built, name: str) -> int:
    """How many words an input of word numbers has; 0 for any other input."""
    return min(
        (
            layer.parameter.embed_param.input_dim
            for layer in built.network.layers
            if layer.type == "Embed" and name in layer.bottoms
        ),
        default=0,
    )


def _caffe_input(preprocessing: Preprocessing | None, image: U8) -> F32:
    """A picture as the blob [1, C, H, W] that Caffe would be fed."""
    channels = image.shape[2]
    if preprocessing:
        return preprocessing.apply(image[None])
    if channels in (1, 3):
        return Preprocessing.of(channels).apply(image[None])
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) - 128)


def pictures(channels: int, height: int, width: int) -> Mapping[str, Images]:
    """Named images [height, width, channels] uint8, RGB where there are three channels.

    Noise excites every channel; the constant shows errors of padding; the gradient those of
    layout and channel order; the impulse those of placement; the scene has faces to detect.
    """
    random = np.random.default_rng(SEED)
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
        FLAT: np.full(shape, 200, np.uint8),
        "gradient": (rows * weights + columns * (1 - weights)).astype(np.uint8),
        "impulse": impulse,
        "scene": _scene(random, channels, height, width),
    }


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
