"""Image files are opened as the service opens them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection import images
from detection.errors import RequestError
from training.data.images import MEAN_RGB, DatasetError, opened, upright, upright_size


def test_a_picture_is_the_one_that_the_service_sees_or_is_refused(shared: Path) -> None:
    """All hostile files: odd modes, orientations, transparency, and files that are not images."""
    agreed = refused = 0
    for path in sorted(path for path in (shared / "hostile").rglob("*") if path.is_file()):
        data = path.read_bytes()
        try:
            served = images.decode(data, max_pixels=4_000_000, background=MEAN_RGB)
        except RequestError:
            served = None
        try:
            with opened(path) as image:
                if image.width * image.height > 4_000_000:
                    continue
                size = upright_size(image)
                picture = upright(image)
        except DatasetError:
            refused += 1
            continue
        assert picture.mode == "RGB"
        assert picture.size == size
        if served is not None:
            assert np.array_equal(np.asarray(picture), np.asarray(served)), path
            agreed += 1
    assert agreed > 300
    assert refused > 50


def test_transparency_is_flattened_on_the_mean_colour(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    with opened(tmp_path / "clear.png") as image:
        assert upright(image).getcolors() == [(12, MEAN_RGB)]


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "large.png")
    monkeypatch.setattr("training.data.images.MAX_PIXELS", 1199)
    with pytest.raises(DatasetError, match="has 40 x 30 pixels"), opened(tmp_path / "large.png"):
        pass
