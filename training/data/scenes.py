"""Scenes to distil on: crops of images at random scales, alone or as a mosaic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from geometry.arrays import F32, F64, U8, Bools
from training.data.dataset import LabelledImage
from training.data.images import MEAN_RGB, is_upright, opened, upright, upright_size
from training.recipe import Recipe

_FILTERS = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.HAMMING,
)


@dataclass(frozen=True)
class Scene:
    """A square picture and what is known about the faces in it."""

    image: U8
    """[S, S, 3] RGB."""
    boxes: F32
    """Labelled faces [N, 4] in fractions of the picture, clipped to it."""
    empty: Bools
    """[3, 3]: the cells of the mosaic that have no face. One, four or nine cells are used."""
    cells: int
    """Cells on a side: 1, 2 or 3."""


def sampling_shares(dataset: Sequence[LabelledImage], crowd: int) -> F64:
    """How often each image is drawn [N], in sum 1: in proportion to its labelled faces.

    At least 1 face and at most `crowd` faces count. Images of crowds are few, but have most of the
    small faces. Their poses and neighbours are not found in mosaics of portraits.
    """
    faces = [1 if each.boxes is None else len(each.boxes) for each in dataset]
    counted = np.clip(faces, 1, crowd).astype(np.float64)
    return counted / counted.sum()


def compose(
    dataset: Sequence[LabelledImage],
    shares: F64,
    size: int,
    recipe: Recipe,
    random: np.random.Generator,
) -> Scene:
    """A scene of `size` pixels a side, made of one, 2 x 2 or 3 x 3 images drawn by `shares`."""
    single = max(1 - recipe.mosaic_2x2 - recipe.mosaic_3x3, 0)
    cells = int(random.choice([1, 2, 3], p=[single, recipe.mosaic_2x2, recipe.mosaic_3x3]))
    edges = np.linspace(0, size, cells + 1).round().astype(int)
    canvas = np.empty((size, size, 3), np.uint8)
    boxes = []
    empty = np.zeros((3, 3), np.bool_)
    for row in range(cells):
        for column in range(cells):
            labelled = dataset[int(random.choice(len(dataset), p=shares))]
            top, left = edges[row], edges[column]
            height, width = edges[row + 1] - top, edges[column + 1] - left
            cell, faces = crop(labelled, int(width), int(height), recipe, random)
            canvas[top : top + height, left : left + width] = cell
            boxes.append((faces + np.asarray([left, top, left, top], np.float32)) / size)
            empty[row, column] = labelled.boxes is not None and not len(labelled.boxes)
    return Scene(canvas, np.concatenate(boxes).astype(np.float32), empty, cells)


def crop(
    labelled: LabelledImage, width: int, height: int, recipe: Recipe, random: np.random.Generator
) -> tuple[U8, F32]:
    """A part of an image at a random scale, as pixels [height, width, 3] and boxes in these.

    The scale lies between about the whole image and a bit more than the image's own pixels. A face
    stays labelled if enough of it is inside.
    """
    with opened(labelled.path) as image:
        full_width, full_height = upright_size(image)
        whole = min(width / full_width, height / full_height)
        # A small image is enlarged until it fills the crop.
        low, high = recipe.scale_low * whole, max(recipe.scale_high, recipe.scale_span * whole)
        # The power favours small scales, because half of the faces in a crowd are small.
        scale = float(low * (high / low) ** (random.random() ** recipe.scale_power))
        extent: tuple[float, float] = full_width, full_height
        if is_upright(image):
            # A JPEG is decoded at a half, a quarter or an eighth in a fraction of the time. Its
            # last column and row may then cover less than a whole pixel. In a rotated image they
            # could come first, so those are decoded in full.
            least = math.ceil(full_width * scale * 2), math.ceil(full_height * scale * 2)
            if drafted := image.draft("RGB", least):
                extent = drafted[1][2:]
        picture = upright(image)
    size = np.tile(picture.size, 2)
    reduced = np.tile(extent, 2) / np.tile((full_width, full_height), 2)
    span_x, span_y = width / scale, height / scale
    boxes = labelled.boxes if labelled.boxes is not None else np.zeros((0, 4), np.float32)
    if len(boxes) and random.random() < recipe.face_crop_chance:
        face = boxes[random.integers(len(boxes))]
        shift = random.uniform(-recipe.face_crop_shift, recipe.face_crop_shift, 2)
        centre = (face[:2] + face[2:]) / 2 + shift * (span_x, span_y)
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
    faces = (boxes - np.asarray([left, top, left, top], np.float32)) * scale
    cut = faces.clip(0, np.asarray([width, height, width, height], np.float32))
    area = (faces[:, 2:] - faces[:, :2]).clip(1e-6).prod(1)
    inside = (cut[:, 2:] - cut[:, :2]).clip(0).prod(1) / area
    shortest = (cut[:, 2:] - cut[:, :2]).min(1)
    kept = cut[(inside >= recipe.visible_min) & (shortest >= recipe.face_side_min)]
    if random.random() < recipe.flip_chance:
        cell = cell[:, ::-1]
        kept = np.stack([width - kept[:, 2], kept[:, 1], width - kept[:, 0], kept[:, 3]], 1)
    return cell, kept.astype(np.float32)


def _inside(start: float, span: float, length: int) -> float:
    """The start, moved so that the span covers as much of the image as it can."""
    return float(np.clip(start, min(0, length - span), max(0, length - span)))
