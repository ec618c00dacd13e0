"""Scenes to distil on: crops of photographs at random scales, alone or as a mosaic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from geometry.arrays import F32, F64, U8, Bools
from training.data.dataset import (
    MEAN_RGB,
    Photograph,
    is_upright,
    opened,
    upright,
    upright_size,
)

_CROWD = 8

_FILTERS = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.HAMMING,
)


@dataclass(frozen=True)
class Scene:
    """A square picture and what is known of the faces in it."""

    image: U8
    """[S, S, 3] RGB."""
    boxes: F32
    """Marked faces [N, 4] in fractions of the picture, cut at its edges."""
    empty: Bools
    """[3, 3]: the cells of the mosaic (one, four or nine are used) without any face."""
    cells: int
    """Cells a side."""


def frequencies(photographs: Sequence[Photograph]) -> F64:
    """How often each is to be seen [N], in sum 1: in proportion to its marked faces.

    From 1 to `_CROWD` of them count: photographs of crowds are few, and have most of the small
    faces, in poses and with neighbours that no mosaic of portraits has.
    """
    faces = [1 if each.boxes is None else len(each.boxes) for each in photographs]
    counted = np.clip(faces, 1, _CROWD).astype(np.float64)
    return counted / counted.sum()


def compose(
    photographs: Sequence[Photograph],
    shares: F64,
    size: int,
    random: np.random.Generator,
) -> Scene:
    """A scene of `size` pixels a side, from one photograph, 2 x 2 or 3 x 3, by their `shares`."""
    cells = int(random.choice([1, 2, 3], p=[0.3, 0.4, 0.3]))
    edges = np.linspace(0, size, cells + 1).round().astype(int)
    canvas = np.empty((size, size, 3), np.uint8)
    boxes = []
    empty = np.zeros((3, 3), np.bool_)
    for row in range(cells):
        for column in range(cells):
            photograph = photographs[int(random.choice(len(photographs), p=shares))]
            top, left = edges[row], edges[column]
            height, width = edges[row + 1] - top, edges[column + 1] - left
            cell, faces = crop(photograph, int(width), int(height), random)
            canvas[top : top + height, left : left + width] = cell
            boxes.append((faces + np.asarray([left, top, left, top], np.float32)) / size)
            empty[row, column] = photograph.boxes is not None and not len(photograph.boxes)
    return Scene(canvas, np.concatenate(boxes).astype(np.float32), empty, cells)


def crop(
    photograph: Photograph, width: int, height: int, random: np.random.Generator
) -> tuple[U8, F32]:
    """A part of a photograph at a random scale, as [height, width, 3] and boxes in its pixels.

    The scale lies between the whole photograph and one and a half times its own pixels. A face
    is kept as marked when at least 40 % of it is inside.
    """
    with opened(photograph.path) as image:
        full_width, full_height = upright_size(image)
        whole = min(width / full_width, height / full_height)
        # A thumbnail is enlarged as far as it takes to fill the part.
        low, high = 0.8 * whole, max(1.5, 1.2 * whole)
        # The power favours small scales: half of the faces in a crowd have few pixels.
        scale = float(low * (high / low) ** (random.random() ** 1.5))
        extent: tuple[float, float] = full_width, full_height
        if is_upright(image):
            # JPEG decodes a half, a quarter or an eighth in a fraction of the time; its last column
            # and row may then be of less than a whole pixel, which a turned one would begin with.
            least = math.ceil(full_width * scale * 2), math.ceil(full_height * scale * 2)
            if drafted := image.draft("RGB", least):
                extent = drafted[1][2:]
        picture = upright(image)
    size = np.tile(picture.size, 2)
    reduced = np.tile(extent, 2) / np.tile((full_width, full_height), 2)
    span_x, span_y = width / scale, height / scale
    marked = photograph.boxes if photograph.boxes is not None else np.zeros((0, 4), np.float32)
    if len(marked) and random.random() < 0.6:
        face = marked[random.integers(len(marked))]
        centre = (face[:2] + face[2:]) / 2 + random.uniform(-0.4, 0.4, 2) * (span_x, span_y)
        left, top = centre[0] - span_x / 2, centre[1] - span_y / 2
    else:
        left = random.uniform(min(0, full_width - span_x), max(0, full_width - span_x))
        top = random.uniform(min(0, full_height - span_y), max(0, full_height - span_y))
    left = _inside(left, span_x, full_width)
    top = _inside(top, span_y, full_height)
    cell = np.empty((height, width, 3), np.uint8)
    cell[:] = MEAN_RGB
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + span_x, full_width), min(top + span_y, full_height)
    into = [
        round((value - start) * scale)
        for value, start in ((x1, left), (y1, top), (x2, left), (y2, top))
    ]
    into[2], into[3] = min(max(into[2], into[0] + 1), width), min(max(into[3], into[1] + 1), height)
    into[0], into[1] = min(into[0], into[2] - 1), min(into[1], into[3] - 1)
    part = picture.resize(
        (into[2] - into[0], into[3] - into[1]),
        _FILTERS[random.integers(len(_FILTERS))],
        box=tuple(np.minimum(np.asarray([x1, y1, x2, y2]) * reduced, size).tolist()),
        reducing_gap=3.0,
    )
    cell[into[1] : into[3], into[0] : into[2]] = np.asarray(part)
    faces = (marked - np.asarray([left, top, left, top], np.float32)) * scale
    cut = faces.clip(0, np.asarray([width, height, width, height], np.float32))
    area = (faces[:, 2:] - faces[:, :2]).clip(1e-6).prod(1)
    inside = (cut[:, 2:] - cut[:, :2]).clip(0).prod(1) / area
    kept = cut[(inside >= 0.4) & ((cut[:, 2:] - cut[:, :2]).min(1) >= 3)]
    if random.random() < 0.5:
        cell = cell[:, ::-1]
        kept = np.stack([width - kept[:, 2], kept[:, 1], width - kept[:, 0], kept[:, 3]], 1)
    return cell, kept.astype(np.float32)


def _inside(start: float, span: float, length: int) -> float:
    """The start moved so that the span shows as much of the photograph as it can."""
    return float(np.clip(start, min(0, length - span), max(0, length - span)))
