"""The network at the image's own size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.caffe import network, prototxt, weights
from convert.options import Options
from sfd.errors import SfdError
from store.add import add
from training.architecture import networks
from training.architecture.family import Architecture
from training.evaluation.local import LocalPredictor
from training.evaluation.native import NativePredictor


def test_at_the_networks_own_size_native_and_letterbox_agree(
    store: Path, labelled_folder: Path, tmp_path: Path
) -> None:
    source = next(labelled_folder.rglob("*.jpg"))
    path = tmp_path / "square.png"
    with Image.open(source) as opened:
        opened.convert("RGB").resize((320, 320)).save(path)
    # The published input is 320; native pads to 384, the next multiple of 128.
    native = NativePredictor.open("small", store).predict([path], 0.5, lambda *_: None)[0]
    letterbox = LocalPredictor.open("small", store, "cpu").predict([path], 0.5, lambda *_: None)[0]
    assert len(native.scores) == len(letterbox.scores) > 0
    assert np.allclose(native.boxes, letterbox.boxes, atol=4)


def test_detections_come_in_the_order_of_the_files(
    store: Path, labelled_folder: Path, tmp_path: Path
) -> None:
    with Image.open(next(labelled_folder.rglob("*.jpg"))) as opened:
        source = opened.convert("RGB")
    files = []
    for number, side in enumerate((384, 128, 384)):
        path = tmp_path / f"{number}.png"
        source.resize((side, side)).save(path)
        files.append(path)
    native = NativePredictor.open("small", store)
    ticks: list[int] = []
    first, small, again = native.predict(files, 0.1, lambda index, _: ticks.append(index))
    assert np.array_equal(first.boxes, again.boxes)
    assert (small.boxes <= 128).all()
    assert sorted(ticks) == [0, 1, 2]


def test_a_file_that_is_not_an_image_is_named(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    with pytest.raises(SfdError, match=r"text\.jpg"):
        NativePredictor.open("small", store).predict([path], 0.1, lambda *_: None)


def test_a_gray_model_gets_gray_pictures(tmp_path: Path, smallest: Architecture) -> None:
    text = prototxt.write(networks.deploy(smallest))
    assert "dim: 3\n" in text
    files = tmp_path / "gray.prototxt", tmp_path / "gray.caffemodel"
    files[0].write_text(text.replace("dim: 3\n", "dim: 1\n", 1))
    random, channels, blobs = np.random.default_rng(0), {"data": 1}, {}
    for layer in network.load(files[0], None).layers:
        inputs = channels.get(layer.bottoms[0], 0)
        if layer.type == "Convolution":
            own = layer.parameter.convolution_param
            side = own.kernel_size[0]
            kernel = random.normal(0, 0.1, (own.num_output, inputs // own.group, side, side))
            blobs[layer.name] = (kernel.astype(np.float32), np.zeros(own.num_output, np.float32))
            inputs = own.num_output
        channels[layer.tops[0]] = inputs
    weights.write(files[1], "gray", blobs)
    add(tmp_path, "gray", *files, options=Options(verify=False))
    noise = random.integers(0, 256, (150, 200, 3), np.uint8)
    found = []
    for name, pixels in (
        ("colour", noise),
        ("gray", np.asarray(Image.fromarray(noise).convert("L"))),
    ):
        path = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(path)
        found += NativePredictor.open("gray", tmp_path).predict([path], 0.1, lambda *_: None)
    assert len(found[0].scores) > 0
    assert np.array_equal(found[0].scores, found[1].scores)
