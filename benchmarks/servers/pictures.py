"""Pictures of several sizes, formats and numbers of faces, made from the photograph of sfd."""

import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from detection.agreement import PHOTOGRAPH

SIZES: Mapping[str, tuple[int, int]] = {
    "0.3 MP": (640, 480),
    "12 MP": (4000, 3000),
    "24 MP": (6000, 4000),
}
"""Width and height: a web picture, a phone's and a camera's."""
FORMATS: Mapping[str, str] = {"JPEG": "jpg", "PNG": "png", "WebP": "webp"}
FACES = (1, 4, 16)
PORTRAIT = "portrait"
"""The cell of a face that fills the picture, so that it gets a second look."""
FACE = (150, 30, 300, 205)
"""The part of the photograph around its face, in pixels."""


def make(folder: Path) -> dict[str, Path]:
    """The pictures by the name of their cell, such as `size 12 MP`; written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(PHOTOGRAPH) as file:
        photograph = file.convert("RGB")
    made: dict[str, Path] = {}

    def save(name: str, picture: Image.Image, extension: str = "jpg") -> None:
        made[name] = folder / f"{name.replace(' ', '-')}.{extension}"
        if not made[name].is_file():
            picture.save(made[name], quality=90)

    for name, (width, height) in SIZES.items():
        save(f"size {name}", _scene(photograph, width, height, 1))
    small = _scene(photograph, *SIZES["0.3 MP"], 1)
    for name, extension in FORMATS.items():
        save(f"format {name}", small, extension)
    for faces in FACES:
        save(f"faces {faces}", _scene(photograph, 640, 480, faces))
    portrait = Image.new("RGB", (640, 480), "gray")
    portrait.paste(photograph.crop(FACE).resize((411, 480), Image.Resampling.BICUBIC), (114, 0))
    save(PORTRAIT, portrait)
    return made


def _scene(photograph: Image.Image, width: int, height: int, faces: int) -> Image.Image:
    """The photograph so many times in a grid: a square number of them."""
    rows = math.isqrt(faces)
    scene = Image.new("RGB", (width, height), "gray")
    side = min(width, height) // rows
    tile = photograph.resize((side, side), Image.Resampling.BICUBIC)
    for index in range(faces):
        row, column = divmod(index, rows)
        scene.paste(tile, (column * width // rows, row * side))
    return scene
