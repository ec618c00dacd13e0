import io
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detection import images
from detection.errors import InvalidImage, RequestError, TooManyPixels, UnsupportedMediaType
from detection.images import decode
from geometry.arrays import U8

MEAN = (123, 117, 104)
# Odd files make Pillow warn. In the service, detection.images filters the whole process's warnings.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def read(data: bytes, max_pixels: int = 1_000_000) -> U8:
    image = decode(data, max_pixels=max_pixels, background=MEAN)
    assert image.mode == "RGB"
    return np.asarray(image)


def problem_of(data: bytes) -> RequestError | None:
    try:
        pixels = read(data, max_pixels=50_000_000)
    except RequestError as problem:
        return problem
    assert pixels.shape[0] * pixels.shape[1] <= 50_000_000
    return None


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(width: int = 24, height: int = 16) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8), "RGB")


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 8),
        ("AVIF", {"quality": 95}, 24),
        ("GIF", {}, 40),
    ],
)
def test_each_format_gives_its_pixels(kind: str, options: dict[str, Any], tolerance: int) -> None:
    pixels = read(encode(gradient(), kind, **options))
    assert np.abs(pixels.astype(int) - np.asarray(gradient()).astype(int)).max() <= tolerance


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "AVIF", "PNG"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    red, blue = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    pixels = read(encode(red, kind, save_all=True, append_images=[blue]))
    assert pixels[8, 8, 0] > 240
    assert pixels[8, 8, 2] < 15


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    upright = np.asarray(gradient())
    # The pixels that a camera held that way stores: the inverse of the EXIF table.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored), "RGB")
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    pixels = read(encode(image, kind, exif=exif, **options))
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright.astype(int)).mean() < 6


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"x" * 50])
def test_a_broken_exif_block_is_ignored(exif: bytes) -> None:
    assert read(encode(gradient(), "JPEG", exif=exif)).shape == (16, 24, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert read(encode(gradient(), "JPEG", exif=exif)).shape == (16, 24, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_flattened_on_the_mean_colour(mode: str) -> None:
    image = Image.new(mode, (2, 1), (255, 255, 255, 255)[: len(mode)])
    image.putalpha(Image.fromarray(np.asarray([[0, 255]], np.uint8)))
    pixels = read(encode(image, "PNG"))
    assert pixels[0].tolist() == [list(MEAN), [255, 255, 255]]


def test_half_transparency_is_half_the_mean_colour() -> None:
    pixels = read(encode(Image.new("RGBA", (1, 1), (255, 255, 255, 128)), "PNG"))
    assert pixels[0, 0].tolist() == [189, 186, 180]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_with_transparency_is_flattened(kind: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    pixels = read(encode(image, kind, transparency=1))
    assert pixels[0].tolist() == [[255, 0, 0], list(MEAN)]


@pytest.mark.parametrize(("mode", "transparent"), [("L", 9), ("RGB", (9, 9, 9))])
def test_a_transparent_colour_of_a_png_is_flattened(mode: str, transparent: Any) -> None:
    image = Image.new(mode, (1, 1), transparent)
    assert read(encode(image, "PNG", transparency=transparent))[0, 0].tolist() == list(MEAN)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_truncated(kind: str) -> None:
    values = np.asarray([[0, 256, 32768, 65535]], np.uint16)
    pixels = read(encode(Image.fromarray(values), kind))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([float("nan"), 1.0, float("inf")], [0, 255, 0]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
        ([-1.0, -1.0, -1.0], [0, 0, 0]),
        ([70000.0, 70000.0, 70000.0], [0, 0, 0]),
    ],
)
def test_floating_point_samples_are_scaled(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.asarray([values], np.float32))
    assert read(encode(image, "TIFF"))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("mode", "white", "kind"),
    [
        ("1", 1, "TIFF"),
        ("1", 1, "PNG"),
        ("L", 255, "TIFF"),
        ("L", 255, "JPEG"),
        ("CMYK", (0, 0, 0, 0), "TIFF"),
        ("CMYK", (0, 0, 0, 0), "JPEG"),
    ],
)
def test_other_modes_become_rgb(mode: str, white: Any, kind: str) -> None:
    image = Image.new(mode, (16, 8), white)
    image.paste(Image.new(mode, (8, 8), (0, 0, 0, 255) if mode == "CMYK" else 0), (8, 0))
    pixels = read(encode(image, kind))
    assert (pixels[:, :8] > 250).all()
    assert (pixels[:, 8:] < 40).all()


def test_pixels_are_counted_from_the_header_before_decoding() -> None:
    data = bytearray(encode(Image.new("L", (10, 10)), "PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # IHDR's width and height
    crc = __import__("zlib").crc32(data[12:29]).to_bytes(4, "big")
    data[29:33] = crc
    with pytest.raises(TooManyPixels, match="60000 x 60000"):
        read(bytes(data))


def test_an_image_at_the_pixel_limit_is_decoded() -> None:
    data = encode(Image.new("L", (10, 10)), "PNG")
    assert read(data, max_pixels=100).shape == (10, 10, 3)
    with pytest.raises(TooManyPixels):
        read(data, max_pixels=99)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_a_truncated_file_is_invalid(kind: str) -> None:
    data = encode(gradient(200, 100), kind)
    with pytest.raises(InvalidImage):
        read(data[: len(data) * 2 // 3])


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", InvalidImage, "the file is empty"),
        (b"\0\1\2\3" * 100, InvalidImage, "not a supported image"),
        (b"\x89PNG\r\n\x1a\n", InvalidImage, "PNG"),
        (b"%PDF-1.7 ...", UnsupportedMediaType, "PDF"),
        (b"just words", UnsupportedMediaType, "text"),
        (b"<svg></svg>", UnsupportedMediaType, "SVG"),
        (b"\0\0\0\x20ftypheic\0\0", UnsupportedMediaType, "HEIC"),
    ],
)
def test_a_file_that_is_not_an_image_is_explained(
    data: bytes, error: type[RequestError], says: str
) -> None:
    with pytest.raises(error, match=says):
        read(data)


@given(st.data())
def test_a_damaged_file_is_decoded_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"]))
    damaged = bytearray(SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert "\n" not in str(problem_of(bytes(damaged)))


SAMPLES = {
    kind: encode(gradient(), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
}


def test_every_hostile_file_is_decoded_or_refused_in_bounded_time_and_memory(shared: Path) -> None:
    files = sorted(path for path in (shared / "hostile").rglob("*") if path.is_file())
    assert len(files) > 700
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    decoded = 0
    for file in files:
        started = time.thread_time()
        problem = problem_of(file.read_bytes())
        if problem is None:
            decoded += 1
        else:
            assert problem.status in (400, 413, 415), file.name
            assert len(str(problem)) < 400
            assert "0x" not in str(problem), "the address of an object"
        assert time.thread_time() - started < 5, file.name
    assert decoded > 250
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # KiB


def test_pillows_warnings_are_not_shown() -> None:
    # Corrupt EXIF makes Pillow warn; in a fresh process, where warnings are errors.
    program = (
        "import io, warnings\n"
        "from PIL import Image\n"
        "from detection.images import decode\n"
        "file = io.BytesIO()\n"
        "Image.new('RGB', (8, 8)).save(file, 'TIFF')\n"
        "data = bytearray(file.getvalue())\n"
        "data[-40:] = b'\\xff' * 40\n"
        "exif = b'Exif\\0\\0II*\\0\\x08\\0\\0\\0\\xff\\xff' + b'\\1' * 40\n"
        "file = io.BytesIO()\n"
        "Image.new('RGB', (8, 8)).save(file, 'JPEG', exif=exif)\n"
        "decode(file.getvalue(), max_pixels=100, background=(0, 0, 0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def photograph(width: int, height: int, *, orientation: int = 1, kind: str = "JPEG") -> bytes:
    """A smooth picture with a white square at a fourth of its sides."""
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    image.paste((255, 255, 255), (width // 4, height // 4, width // 2, height // 2))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, quality=95, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    ("side", "expected"), [(600, 600), (1279, 1279), (2559, 2559), (2560, 1280), (6000, 1500)]
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_fills_the_box(
    side: int, expected: int
) -> None:
    data = photograph(side, side // 2)
    found = images.decode_to_fit(data, (1280, 1280), max_pixels=10**8, background=(0, 0, 0))
    assert (found.width, found.height) == (side, side // 2)
    assert found.upright().width == expected
    assert found.upright().width >= min(side, 1280)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reduced_picture_is_turned_upright_and_keeps_its_full_size(orientation: int) -> None:
    data = photograph(4000, 1000, orientation=orientation)
    full = images.decode(data, max_pixels=10**8, background=(0, 0, 0))
    found = images.decode_to_fit(data, (1280, 1280), max_pixels=10**8, background=(0, 0, 0))
    assert (found.width, found.height) == full.size
    assert found.upright().size == (full.width // 2, full.height // 2)
    small = full.resize(found.upright().size, Image.Resampling.BOX)
    difference = np.abs(np.asarray(small, np.int16) - np.asarray(found.upright(), np.int16))
    assert difference.mean() < 2


def test_a_phones_file_with_a_second_picture_is_reduced_too() -> None:
    """MPO: Pixel and Samsung phones put a gain map or a depth map behind the photograph."""
    main, behind = Image.new("RGB", (4000, 3000), (200, 10, 10)), Image.new("RGB", (1000, 750))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    main.save(file, "MPO", save_all=True, append_images=[behind], exif=exif)
    found = images.decode_to_fit(file.getvalue(), (1280, 1280), max_pixels=10**8, background=MEAN)
    assert (found.width, found.height) == (3000, 4000)
    assert found.upright().size == (1500, 2000)
    assert np.allclose(np.asarray(found.upright())[900, 700], (200, 10, 10), atol=3)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 5000), (5000, 1), (1281, 1281), (2559, 2561), (9000, 700)], ids=str
)
def test_a_reduced_jpeg_is_not_smaller_than_if_it_fitted_the_box(
    size: tuple[int, int], mode: str, progressive: bool, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.new(mode, size).save(file, "JPEG", exif=exif, progressive=progressive)
    found = images.decode_to_fit(file.getvalue(), (1280, 1280), max_pixels=10**8, background=MEAN)
    upright = size if orientation == 1 else size[::-1]
    assert (found.width, found.height) == upright
    needed = min(1.0, 1280 / max(upright))
    assert found.upright().width >= upright[0] * needed
    assert found.upright().height >= upright[1] * needed


def test_other_formats_and_whole_pictures_are_not_reduced() -> None:
    data = photograph(4000, 1000, kind="PNG")
    found = images.decode_to_fit(data, (1280, 1280), max_pixels=10**8, background=(0, 0, 0))
    assert found.upright().size == (4000, 1000)
    jpeg = photograph(4000, 1000)
    assert images.decode(jpeg, max_pixels=10**8, background=(0, 0, 0)).size == (4000, 1000)


def test_the_pixel_limit_counts_the_full_picture() -> None:
    with pytest.raises(TooManyPixels, match="8 megapixels"):
        images.decode_to_fit(
            photograph(4000, 2000), (64, 64), max_pixels=7_999_999, background=(0, 0, 0)
        )


@pytest.mark.parametrize("size", [(1_000_000, 1), (1, 1_000_000), (65_536, 2)])
def test_a_picture_with_a_very_long_side_is_refused_before_it_is_decoded(
    size: tuple[int, int],
) -> None:
    data = encode(Image.new("1", size), "PNG")
    with pytest.raises(TooManyPixels, match="no side may be longer than 65535"):
        read(data, max_pixels=2_000_000)


def test_a_long_panorama_is_read() -> None:
    assert read(encode(Image.new("1", (65_535, 20)), "PNG"), 2_000_000).shape == (20, 65_535, 3)


LITTLE_MEMORY = """
import sys, resource
from detection import images
data = sys.stdin.buffer.read()
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 50 * 2**20, resource.RLIM_INFINITY))
try:
    images.decode(data, max_pixels=10**8, background=(0, 0, 0))
except images.RequestError as problem:
    print(problem.slug)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which only Linux has")
@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("JPEG", {}), ("TIFF", {"compression": "tiff_lzw"}),
                          ("WEBP", {"method": 0})]
)  # fmt: skip
def test_a_good_picture_for_which_memory_is_lacking_is_not_called_broken(
    kind: str, options: dict[str, Any]
) -> None:
    data = encode(Image.new("RGB", (9000, 9000), "red"), kind, **options)
    found = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY], input=data, capture_output=True, check=True
    )
    assert found.stdout.decode().strip() == "out-of-memory"


def test_the_first_picture_imports_nothing_more() -> None:
    """In a process that decodes, an import could fail for want of memory or files."""
    code = (
        "import sys; from detection import images; data = sys.stdin.buffer.read(); "
        "before = set(sys.modules); "
        "images.decode(data, max_pixels=10**6, background=(0, 0, 0)); "
        "print(*(set(sys.modules) - before))"
    )
    data = encode(Image.new("RGB", (40, 30)), "JPEG")
    found = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, check=True
    )
    assert found.stdout.split() == []


def test_a_broken_file_with_a_large_canvas_is_called_broken() -> None:
    data = encode(Image.new("RGB", (9000, 9000)), "WEBP", method=0)
    found = problem_of_large(data[:200])
    assert found.slug == "invalid-image"


def problem_of_large(data: bytes) -> RequestError:
    with pytest.raises(RequestError) as raised:
        read(data, 100_000_000)
    return raised.value


@pytest.mark.parametrize("kind", ["TGA", "PCX", "ICO"])
def test_an_image_format_that_is_not_read_is_named(kind: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=r"this is (Targa|PCX|icon), not one of JPEG"):
        read(encode(Image.new("RGB", (40, 30)), kind))


def test_premultiplied_gray_is_flattened() -> None:
    # A gray of 100 with half of its opacity is stored as 50, and shown as half of it and half of
    # the background.
    image = Image.merge("LA", [Image.new("L", (4, 4), 50), Image.new("L", (4, 4), 128)])
    data = bytearray(encode(image, "TIFF"))
    entry = data.index(struct.pack("<HHL", 338, 3, 1))
    data[entry + 8 : entry + 10] = struct.pack("<H", 1)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.mode == "La"
    expected = [round(100 * 128 / 255 + mean * 127 / 255) for mean in MEAN]
    assert np.abs(read(bytes(data))[0, 0].astype(int) - expected).max() <= 1
