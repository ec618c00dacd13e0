"""What spoils a photograph: tilt, blur, noise, JPEG, low light, lack of colour, obstacles."""

import io
import math
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from geometry.arrays import U8
from training.data.dataset import MEAN_RGB
from training.data.scenes import Scene

MOST_TILT = 25
"""Degrees."""


def tilt(scene: Scene, random: np.random.Generator) -> Scene:
    """The scene turned about its middle, with its faces; sometimes."""
    if random.random() >= 0.3:
        return scene
    degrees = random.uniform(-MOST_TILT, MOST_TILT)
    image = Image.fromarray(scene.image)
    image = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=MEAN_RGB)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Pillow turns counter-clockwise, and y points down. A face's box keeps its size.
    turn = np.asarray([[cosine, -sine], [sine, cosine]], np.float32)
    middles = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2
    halves = (scene.boxes[:, 2:] - scene.boxes[:, :2]) / 2
    turned = (middles - 0.5) @ turn + 0.5
    boxes = np.concatenate([turned - halves, turned + halves], axis=1).astype(np.float32)
    inside = ((turned > 0) & (turned < 1)).all(1)
    # The cells lie elsewhere now.
    return replace(
        scene,
        image=np.asarray(image),
        boxes=boxes[inside].clip(0, 1),
        empty=np.zeros_like(scene.empty),
    )


def obscure(image: U8, random: np.random.Generator) -> U8:
    """What also hides faces from the teacher: low resolution, blur, light, things in the way."""
    if random.random() < 0.4:
        image = _thumbnail(image, random)
    if random.random() < 0.1:
        radius = random.uniform(0.4, 1.6)
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    if random.random() < 0.3:
        image = _relit(image.astype(np.float32), random).clip(0, 255).astype(np.uint8)
    if random.random() < 0.15:
        image = image.copy()
        for _ in range(random.integers(1, 5)):
            side = random.integers(4, image.shape[0] // 6, 2)
            y, x = (random.integers(0, image.shape[0] - side[axis]) for axis in (0, 1))
            patch = image[y : y + side[0], x : x + side[1]]
            patch[:] = (
                random.integers(0, 256, 3) if random.random() < 0.6 else patch[::-1, ::-1].copy()
            )
    return image


def degrade(image: U8, random: np.random.Generator) -> U8:
    """What leaves faces where they are: low resolution, light, colour, noise, and JPEG's losses."""
    if random.random() < 0.25:
        # As of a thumbnail of another aspect ratio that somebody enlarged.
        small = (image.shape[0] * random.uniform(0.5, 1, 2)).astype(int)
        picture = Image.fromarray(image).resize(tuple(small), Image.Resampling.BILINEAR)
        image = np.asarray(picture.resize(image.shape[:2], Image.Resampling.BICUBIC))
    values = _relit(image.astype(np.float32), random)
    if random.random() < 0.25:
        values += random.normal(0, random.uniform(1, 12), values.shape).astype(np.float32)
    image = values.clip(0, 255).astype(np.uint8)
    return _compressed(image, random, 25) if random.random() < 0.3 else image


def _thumbnail(image: U8, random: np.random.Generator) -> U8:
    """Made small, often as a JPEG file and of another aspect ratio, and enlarged again."""
    size = image.shape[0]
    both = random.uniform(0.4, 1)
    small = np.maximum(size * both * random.uniform([0.7, 0.7], [1, 1]), 8).astype(int)
    reduced = np.asarray(Image.fromarray(image).resize(tuple(small), Image.Resampling.BILINEAR))
    if random.random() < 0.5:
        reduced = _compressed(reduced, random, 60)
    filters = (Image.Resampling.BICUBIC, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    enlarged = Image.fromarray(reduced).resize((size, size), filters[random.integers(3)])
    return np.asarray(enlarged)


def _compressed(image: U8, random: np.random.Generator, worst: int) -> U8:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(random.integers(worst, 90)))
    return np.asarray(Image.open(buffer))


def _relit(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Other light and colour, float32 [S, S, 3] from 0 to 255 and beyond."""
    if random.random() < 0.5:
        values = values * random.uniform(0.6, 1.4) + random.uniform(-30, 30)
    if random.random() < 0.3:
        values = values * random.uniform(0.85, 1.15, 3).astype(np.float32)
    if random.random() < 0.5:
        gray = values @ np.asarray([0.299, 0.587, 0.114], np.float32)
        amount = 0.0 if random.random() < 0.25 else random.uniform(0.5, 1.5)
        values = gray[..., None] + (values - gray[..., None]) * amount
    if random.random() < 0.15:
        gamma = np.exp(random.uniform(np.log(0.6), np.log(2.5)))
        values = 255 * (values.clip(0, 255) / 255) ** gamma * random.uniform(0.4, 1)
    return values.astype(np.float32)
