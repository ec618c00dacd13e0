import pytest

from detection.sizes import readable_bytes, readable_pixels


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (800, "800 bytes"),
        (1024, "1 KiB"),
        (1500, "1.5 KB"),
        (20 * 2**20, "20 MiB"),
        (20_000_000, "20 MB"),
        (20_100_000, "20.1 MB"),
        (2**31, "2 GiB"),
    ],
)
def test_bytes_are_shown_in_the_largest_unit_that_fits(count: int, text: str) -> None:
    assert readable_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1000, "1000 pixels"),
        (50_000_000, "50 megapixels"),
        (280_000_000, "280 megapixels"),
        (150_000, "0.1 megapixels"),
        (12_192_768, "12.2 megapixels"),
    ],
)
def test_pixels_are_shown_in_megapixels(count: int, text: str) -> None:
    assert readable_pixels(count) == text
