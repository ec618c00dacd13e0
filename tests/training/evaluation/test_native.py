"""The network at the image's own size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfd.errors import SfdError
from training.evaluation.finders import Local
from training.evaluation.native import Native


def test_at_the_networks_own_size_native_and_letterbox_agree(
    store: Path, photographs: Path, tmp_path: Path
) -> None:
    source = next(photographs.rglob("*.jpg"))
    path = tmp_path / "square.png"
    with Image.open(source) as opened:
        opened.convert("RGB").resize((320, 320)).save(path)
    # The published input is 320; native pads to 384, the next multiple of 128.
    native = Native.open("small", store).find([path], 0.5, lambda _: None)[0]
    letterbox = Local.open("small", store, "cpu").find([path], 0.5, lambda _: None)[0]
    assert len(native.scores) == len(letterbox.scores) > 0
    assert np.allclose(native.boxes, letterbox.boxes, atol=4)


def test_detections_come_in_the_order_of_the_files(
    store: Path, photographs: Path, tmp_path: Path
) -> None:
    with Image.open(next(photographs.rglob("*.jpg"))) as opened:
        source = opened.convert("RGB")
    files = []
    for number, side in enumerate((384, 128, 384)):
        path = tmp_path / f"{number}.png"
        source.resize((side, side)).save(path)
        files.append(path)
    native = Native.open("small", store)
    ticks: list[int] = []
    first, small, again = native.find(files, 0.1, ticks.append)
    assert np.array_equal(first.boxes, again.boxes)
    assert (small.boxes <= 128).all()
    assert len(ticks) == 3


def test_a_file_that_is_no_image_is_named(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    with pytest.raises(SfdError, match=r"text\.jpg"):
        Native.open("small", store).find([path], 0.1, lambda _: None)
