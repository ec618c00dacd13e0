"""The picture as an answer: upright, in sRGB, without metadata."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from detection.drawing import COLOUR
from detection.errors import InvalidImage
from detection.rendering import Style, crops, draw, encode, profile, to_srgb
from geometry.arrays import Floats

BACKGROUND = (123, 117, 104)
NONE = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


def swapped() -> bytes:
    """A profile whose red primary is sRGB's green and the other way round."""
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = icc.index(b"rXYZ"), icc.index(b"gXYZ")
    icc[red : red + 4], icc[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(icc)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def boxes_of(*boxes: tuple[float, float, float, float]) -> tuple[Floats, Floats]:
    return np.asarray(boxes, np.float32), np.ones(len(boxes), np.float32)


def cut(data: bytes, *boxes: tuple[float, float, float, float], **options: Any) -> list[bytes]:
    given: dict[str, Any] = {"margin": 0.0, "size": 256, "max_pixels": 10**6}
    given |= {"background": BACKGROUND} | options
    return list(crops(data, boxes_of(*boxes)[0], **given))


@pytest.mark.parametrize("style", ["boxes", "blur", "pixelate"])
def test_each_style_changes_the_face_and_nothing_far_from_it(style: Style) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    data = file_of(Image.fromarray(noise))
    drawn = draw(data, *boxes_of((20, 20, 80, 80)), style, max_pixels=10**6, background=BACKGROUND)
    values = np.asarray(drawn)
    assert (values[20:80, 20:80] != noise[20:80, 20:80]).any()
    assert (values[110:] == noise[110:]).all()
    assert (values[20, 50] == COLOUR).all() == (style == "boxes")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("style", ["boxes", "blur", "pixelate"])
def test_no_metadata_is_written(kind: str, style: Style) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SECRET text")
    image = Image.new("RGB", (64, 64), (250, 250, 250))
    data = file_of(image, kind, exif=exif, comment=b"SECRET", pnginfo=text)
    assert b"SECRET" in data
    drawn = draw(data, *boxes_of((5, 5, 30, 30)), style, max_pixels=10**6, background=BACKGROUND)
    for made in (encode(drawn, "PNG"), encode(drawn, "JPEG"), *cut(data, (5, 5, 30, 30))):
        assert b"SECRET" not in made
        assert not Image.open(io.BytesIO(made)).getexif()


def test_the_picture_and_its_crops_are_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (64, 32), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 32, 32))  # the left half, which becomes the upper one
    data = file_of(image, "PNG", exif=exif)
    drawn = draw(data, *NONE, "boxes", max_pixels=10**6, background=BACKGROUND)
    assert drawn.size == (32, 64)
    upper, lower = cut(data, (0, 0, 31, 31), (0, 33, 31, 63))
    assert np.asarray(Image.open(io.BytesIO(upper))).mean() > 250
    assert np.asarray(Image.open(io.BytesIO(lower))).mean() < 5


def test_each_face_has_its_own_jpeg() -> None:
    image = Image.new("RGB", (64, 64), (200, 0, 0))
    image.paste((0, 0, 200), (32, 0, 64, 64))
    made = [
        Image.open(io.BytesIO(one)) for one in cut(file_of(image), (0, 0, 15, 15), (48, 0, 63, 9))
    ]
    assert [(one.format, one.size) for one in made] == [("JPEG", (16, 16)), ("JPEG", (16, 10))]
    assert np.asarray(made[0])[8, 8, 0] > 180
    assert np.asarray(made[1])[5, 8, 2] > 180


def test_crops_are_in_srgb_too() -> None:
    data = file_of(Image.new("RGB", (64, 64), (220, 20, 20)), icc_profile=swapped())
    (made,) = cut(data, (0, 0, 63, 63))
    red, green, _ = np.asarray(Image.open(io.BytesIO(made)))[30, 30]
    assert green > 180
    assert red < 60


def test_a_broken_file_gives_no_picture() -> None:
    with pytest.raises(InvalidImage):
        draw(b"\xff\xd8\xff", *NONE, "boxes", max_pixels=100, background=BACKGROUND)
    with pytest.raises(InvalidImage):
        cut(b"\xff\xd8\xff", (0, 0, 1, 1))


@pytest.mark.parametrize("size", [10, 2**20])
def test_a_profile_is_read_from_rgb_samples_only(size: int) -> None:
    icc = bytes(size)
    assert profile(file_of(Image.new("RGB", (8, 8)), icc_profile=icc)) == icc
    assert profile(file_of(Image.new("L", (8, 8)), icc_profile=icc)) is None


def test_an_invalid_profile_is_not_read() -> None:
    assert profile(file_of(Image.new("RGB", (8, 8)))) is None
    assert profile(file_of(Image.new("RGB", (8, 8)), icc_profile=bytes(2**20 + 1))) is None
    assert profile(b"nothing") is None


def test_colours_of_a_profile_are_converted_to_srgb() -> None:
    image = Image.new("RGB", (8, 8), (220, 20, 20))
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=swapped())
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    drawn = draw(file.getvalue(), *none, "boxes", max_pixels=100, background=BACKGROUND)
    red, green, _ = np.asarray(drawn)[4, 4]
    assert green > 180
    assert red < 60


@pytest.mark.parametrize("icc", [b"no profile at all", b"\0" * 200, swapped()[:300]])
def test_a_broken_profile_leaves_the_colours_as_they_are(icc: bytes) -> None:
    image = Image.new("RGB", (8, 8), (220, 20, 20))
    assert to_srgb(image, icc).tobytes() == image.tobytes()
