"""Prior boxes (anchors) of one feature map, in the order of SSD's Caffe.

Every rule comes from `src/caffe/layers/prior_box_layer.cpp` of github.com/weiliu89/caffe.
"""

from dataclasses import dataclass

import numpy as np

from geometry.arrays import F32


@dataclass(frozen=True, slots=True)
class PriorSpec:
    """The parameters of a PriorBox layer; sizes, steps and image sides in pixels of the input."""

    min_sizes: tuple[float, ...]
    max_sizes: tuple[float, ...] = ()
    """None, or one for each min size and larger than it."""
    aspect_ratios: tuple[float, ...] = ()
    flip: bool = True
    """Whether 1 / ratio follows each aspect ratio."""
    clip: bool = False
    """Whether coordinates are cut to 0–1."""
    variances: tuple[float, ...] = (0.1,)
    """One value for all four coordinates, or four values."""
    step_width: float = 0.0
    """Distance between two centres; 0 means the input's width divided by the feature map's
    width."""
    step_height: float = 0.0
    offset: float = 0.5
    image_width: int = 0
    """Width that the fractions refer to; 0 means the input's width."""
    image_height: int = 0


def sizes(spec: PriorSpec) -> F32:
    """Widths and heights [K, 2] in pixels of the priors at each cell, in Caffe's order.

    For each min size: the square of that size; the square of sqrt(min * max) if there are max
    sizes; then one of sqrt(ratio) * min by min / sqrt(ratio) for each aspect ratio except 1. Caffe
    stores min and max size as `int`, which drops the fraction; this does the same.
    """
    ratios = _ratios(spec)
    shapes: list[tuple[np.float32, np.float32]] = []
    for index, size in enumerate(spec.min_sizes):
        low = np.float32(int(size))
        shapes.append((low, low))
        if spec.max_sizes:
            both = np.float32(np.sqrt(float(int(size) * int(spec.max_sizes[index]))))
            shapes.append((both, both))
        shapes.extend((low * np.sqrt(ratio), low / np.sqrt(ratio)) for ratio in ratios)
    return np.asarray(shapes, np.float32).reshape(-1, 2)


def priors(
    spec: PriorSpec, layer_width: int, layer_height: int, input_width: int, input_height: int
) -> tuple[F32, F32]:
    """Boxes [P, 4] in fractions of the image and variances [P, 4] for one feature map.

    P = layer_height * layer_width * K: row by row, cell by cell, and within a cell in the order of
    `sizes`. Centres are float32, as in Caffe; corners are computed in double.
    """
    shapes = sizes(spec)
    own_image = spec.image_width and spec.image_height
    width = spec.image_width if own_image else input_width
    height = spec.image_height if own_image else input_height
    own_step = spec.step_width and spec.step_height
    step_x = np.float32(spec.step_width if own_step else np.float32(width) / layer_width)
    step_y = np.float32(spec.step_height if own_step else np.float32(height) / layer_height)
    offset = np.float32(spec.offset)
    centre_x = (np.arange(layer_width, dtype=np.float32) + offset) * step_x
    centre_y = (np.arange(layer_height, dtype=np.float32) + offset) * step_y
    centres = np.stack(np.meshgrid(centre_x, centre_y), axis=-1).astype(np.float64)
    half = shapes.astype(np.float64) / 2
    sides = np.asarray([width, height], np.float64)
    corners = [(centres[:, :, None] + sign * half) / sides for sign in (-1, 1)]
    boxes = np.concatenate(corners, axis=-1).reshape(-1, 4).astype(np.float32)
    if spec.clip:
        boxes = np.clip(boxes, np.float32(0), np.float32(1))
    variances = np.empty_like(boxes)
    variances[:] = np.asarray(spec.variances, np.float32)
    return boxes, variances


def _ratios(spec: PriorSpec) -> list[np.float32]:
    """Aspect ratios except 1, and with `flip` their inverses; none repeats within 1e-6."""
    ratios = [np.float32(1)]
    for value in spec.aspect_ratios:
        ratio = np.float32(value)
        if any(abs(ratio - known) < 1e-6 for known in ratios):
            continue
        ratios.append(ratio)
        if spec.flip:
            ratios.append(np.float32(1) / ratio)
    return [ratio for ratio in ratios if abs(float(ratio) - 1) >= 1e-6]
