"""What spoils a photograph: blur, noise, JPEG, low light, lack of colour, things in the way."""

import io

import numpy as np
from PIL import Image, ImageFilter

from training.scenes import U8


def obscure(image: U8, random: np.random.Generator) -> U8:
    """What also hides faces from the teacher: blur, low resolution, and things in the way."""
    if random.random() < 0.3:
        size = image.shape[0]
        small = int(size * random.uniform(0.35, 0.9))
        picture = Image.fromarray(image).resize((small, small), Image.Resampling.BILINEAR)
        image = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
    if random.random() < 0.1:
        radius = random.uniform(0.4, 1.6)
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
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
    values = image.astype(np.float32)
    if random.random() < 0.5:
        values = values * random.uniform(0.6, 1.4) + random.uniform(-30, 30)
    if random.random() < 0.3:
        values *= random.uniform(0.85, 1.15, 3).astype(np.float32)
    if random.random() < 0.5:
        gray = values @ np.asarray([0.299, 0.587, 0.114], np.float32)
        amount = 0.0 if random.random() < 0.25 else random.uniform(0.5, 1.5)
        values = gray[..., None] + (values - gray[..., None]) * amount
    if random.random() < 0.15:
        gamma = np.exp(random.uniform(np.log(0.6), np.log(2.5)))
        values = 255 * (values.clip(0, 255) / 255) ** gamma * random.uniform(0.4, 1)
    if random.random() < 0.25:
        values += random.normal(0, random.uniform(1, 12), values.shape).astype(np.float32)
    image = values.clip(0, 255).astype(np.uint8)
    if random.random() < 0.3:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(random.integers(25, 90)))
        image = np.asarray(Image.open(buffer))
    return image
