"""Augmentations of scenes: rotation, blur, noise, JPEG, light, colour, occlusion."""

import io
import math
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from geometry.arrays import U8
from training.data.images import MEAN_RGB
from training.data.scenes import Scene
from training.recipe import Recipe


def rotate(scene: Scene, recipe: Recipe, random: np.random.Generator) -> Scene:
    """Sometimes rotate the scene and its faces about the middle."""
    if random.random() >= recipe.rotate_chance:
        return scene
    degrees = random.uniform(-recipe.rotate_degrees, recipe.rotate_degrees)
    image = Image.fromarray(scene.image)
    image = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=MEAN_RGB)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Pillow rotates counter-clockwise, and y points down. A face's box keeps its size.
    turn = np.asarray([[cosine, -sine], [sine, cosine]], np.float32)
    middles = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2
    halves = (scene.boxes[:, 2:] - scene.boxes[:, :2]) / 2
    turned = (middles - 0.5) @ turn + 0.5
    boxes = np.concatenate([turned - halves, turned + halves], axis=1).astype(np.float32)
    inside = ((turned > 0) & (turned < 1)).all(1)
    # The cells of the mosaic have moved, so the empty ones are no longer known.
    return replace(
        scene,
        image=np.asarray(image),
        boxes=boxes[inside].clip(0, 1),
        empty=np.zeros_like(scene.empty),
    )


def augment_for_both(image: U8, recipe: Recipe, random: np.random.Generator) -> U8:
    """Augment an image [S, S, 3] for teachers and student alike.

    These augmentations can hide faces, so the teachers must see them too: low resolution, blur,
    light and occlusion.
    """
    if random.random() < recipe.thumbnail_chance:
        image = _thumbnail(image, recipe, random)
    if random.random() < recipe.blur_chance:
        radius = random.uniform(*recipe.blur_radius)
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    if random.random() < recipe.light_chance:
        image = _relight(image.astype(np.float32), recipe, random).clip(0, 255).astype(np.uint8)
    if random.random() < recipe.occlusion_chance:
        image = _occlude(image, recipe, random)
    return image


def augment_for_student(image: U8, recipe: Recipe, random: np.random.Generator) -> U8:
    """Augment an image [S, S, 3] for the student alone, so that it becomes robust to the change.

    Faces stay visible and in place: low resolution, light, colour, noise and JPEG compression.
    """
    if random.random() < recipe.shrink_chance:
        # The aspect ratio changes on the way, as in a thumbnail that was enlarged.
        small = (image.shape[0] * random.uniform(*recipe.shrink_scale, 2)).astype(int)
        picture = Image.fromarray(image).resize(tuple(small), Image.Resampling.BILINEAR)
        image = np.asarray(picture.resize(image.shape[:2], Image.Resampling.BICUBIC))
    values = _relight(image.astype(np.float32), recipe, random)
    if random.random() < recipe.noise_chance:
        sigma = random.uniform(*recipe.noise_sigma)
        values += random.normal(0, sigma, values.shape).astype(np.float32)
    image = values.clip(0, 255).astype(np.uint8)
    if random.random() < recipe.jpeg_chance:
        image = _compress(image, recipe.jpeg_quality, random)
    return image


def _thumbnail(image: U8, recipe: Recipe, random: np.random.Generator) -> U8:
    """Shrink the image, often as a JPEG and to another aspect ratio, and enlarge it again."""
    size = image.shape[0]
    both = random.uniform(*recipe.thumbnail_scale)
    small = np.maximum(size * both * random.uniform(*recipe.thumbnail_aspect, 2), 8).astype(int)
    reduced = np.asarray(Image.fromarray(image).resize(tuple(small), Image.Resampling.BILINEAR))
    if random.random() < recipe.thumbnail_jpeg_chance:
        reduced = _compress(reduced, recipe.thumbnail_quality, random)
    filters = (Image.Resampling.BICUBIC, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    enlarged = Image.fromarray(reduced).resize((size, size), filters[random.integers(3)])
    return np.asarray(enlarged)


def _occlude(image: U8, recipe: Recipe, random: np.random.Generator) -> U8:
    """Cover parts of the image with patches of one colour, or with those parts rotated by 180°."""
    image = image.copy()
    longest = int(image.shape[0] * recipe.occlusion_side)
    fewest, most = map(int, recipe.occlusion_patches)
    for _ in range(random.integers(fewest, most, endpoint=True)):
        side = random.integers(4, longest, 2)
        y, x = (random.integers(0, image.shape[0] - side[axis]) for axis in (0, 1))
        patch = image[y : y + side[0], x : x + side[1]]
        plain = random.random() < recipe.occlusion_plain
        patch[:] = random.integers(0, 256, 3) if plain else patch[::-1, ::-1].copy()
    return image


def _compress(image: U8, quality: tuple[float, float], random: np.random.Generator) -> U8:
    """Compress the image as a JPEG of random quality."""
    buffer = io.BytesIO()
    drawn = int(random.integers(int(quality[0]), int(quality[1]), endpoint=True))
    Image.fromarray(image).save(buffer, "JPEG", quality=drawn)
    return np.asarray(Image.open(buffer))


def _relight(values: np.ndarray, recipe: Recipe, random: np.random.Generator) -> np.ndarray:
    """Change light and colour of float32 values [S, S, 3]; they may leave the range 0 to 255."""
    if random.random() < recipe.brightness_chance:
        factor = random.uniform(*recipe.brightness_factor)
        offset = random.uniform(-recipe.brightness_offset, recipe.brightness_offset)
        values = values * factor + offset
    if random.random() < recipe.tint_chance:
        values = values * random.uniform(*recipe.tint_factor, 3).astype(np.float32)
    if random.random() < recipe.saturation_chance:
        gray = values @ np.asarray([0.299, 0.587, 0.114], np.float32)
        to_gray = random.random() < recipe.gray_share
        amount = 0.0 if to_gray else random.uniform(*recipe.saturation_factor)
        values = gray[..., None] + (values - gray[..., None]) * amount
    if random.random() < recipe.gamma_chance:
        gamma = np.exp(random.uniform(*np.log(recipe.gamma)))
        values = 255 * (values.clip(0, 255) / 255) ** gamma * random.uniform(*recipe.gamma_dim)
    return values.astype(np.float32)
