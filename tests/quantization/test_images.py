"""How the photographs of a folder are divided."""

from pathlib import Path

import pytest

from quantization.images import MINIMUM, divide
from sfd.files import sha256
from store.model import ModelError


def test_a_quarter_of_the_images_is_held_back_whatever_their_names(
    images: Path, tmp_path: Path
) -> None:
    divided = divide(images)
    assert (len(divided.calibrating), len(divided.held_back)) == (15, 5)
    assert not set(divided.calibrating) & set(divided.held_back)
    for number, file in enumerate(sorted(images.iterdir(), reverse=True)):
        (tmp_path / f"other{number}.jpg").write_bytes(file.read_bytes())
    again = divide(tmp_path)
    assert again.sha256 == divided.sha256
    assert list(map(sha256, again.held_back)) == list(map(sha256, divided.held_back))


def test_the_same_image_twice_counts_once(images: Path, tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes((images / "0.jpg").read_bytes())
    with pytest.raises(ModelError, match=f"has 1 different images, .* at least {MINIMUM}"):
        divide(tmp_path)
