"""The torch network computes what OpenCV computes from the same files, and writes them back."""

import copy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")
cv2 = pytest.importorskip("cv2", reason="OpenCV is the reference (extra verify)")

from convert.caffe import network as caffe  # noqa: E402
from convert.caffe import weights  # noqa: E402
from convert.caffe.network import CaffeError  # noqa: E402
from training.network.network import CaffeNetwork  # noqa: E402
from training.network.operators import BatchNorm  # noqa: E402

REAL = ["sfd-320-mod5-nobn", "sfd-320-mod11e", "sfd-320-mod11g"]


def noise(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(0, 60, shape).astype(np.float32)


def by_opencv(prototxt: Path, weights: Path, data: object, tops: list[str]) -> list[object]:
    net = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
    net.setInput(data)
    return list(net.forward(tops))


def assert_same(network: CaffeNetwork, prototxt: Path, weights: Path, size: int) -> None:
    data = noise(1, 3, size, size)
    assert network.heads is not None
    reference = by_opencv(prototxt, weights, data, [network.heads.codes, network.heads.logits])
    with torch.no_grad():
        codes, logits, _ = network.eval().detect(torch.from_numpy(data))
    for ours, theirs in zip((codes, logits), reference, strict=True):
        expected = np.asarray(theirs).ravel()
        largest = np.abs(expected).max()
        assert np.abs(ours.numpy().ravel() - expected).max() <= 1e-4 * largest


@pytest.mark.parametrize("name", REAL)
def test_a_published_network_gives_the_outputs_that_opencv_gives(shared: Path, name: str) -> None:
    folder = shared / "models/upstream" / name
    files = folder / "deploy.prototxt", folder / "weights.caffemodel"
    assert_same(CaffeNetwork(caffe.load(*files)), *files, 320)


def test_weights_written_after_training_read_back_through_opencv(
    tiny: Path, tmp_path: Path
) -> None:
    network = CaffeNetwork(caffe.load(tiny / "deploy.prototxt", None))
    network.train()
    for _ in range(3):
        network.detect(torch.from_numpy(noise(2, 3, 256, 256)))
    path = tmp_path / "out.caffemodel"
    network.save(path)
    assert_same(network, tiny / "deploy.prototxt", path, 256)


def test_a_saved_network_loads_unchanged(tiny: Path, tmp_path: Path) -> None:
    network = CaffeNetwork(caffe.load(tiny / "train.prototxt", None, phase="TRAIN"))
    network.train()
    network.detect(torch.from_numpy(noise(2, 3, 128, 128)))
    path = tmp_path / "out.caffemodel"
    network.save(path)
    again = CaffeNetwork(caffe.load(tiny / "train.prototxt", path, phase="TRAIN"))
    for name, value in network.state_dict().items():
        assert torch.allclose(value, again.state_dict()[name], rtol=1e-6), name


def test_a_frozen_batch_norm_inside_its_convolution_gives_the_same_gradients(tiny: Path) -> None:
    network = CaffeNetwork(caffe.load(tiny / "deploy.prototxt", None)).train()
    network.detect(torch.from_numpy(noise(2, 3, 128, 128)))
    plain, merged = copy.deepcopy(network).double(), copy.deepcopy(network).double().freeze()
    for module in plain.operators:
        if isinstance(module, BatchNorm):
            module.frozen = True
    data = torch.from_numpy(noise(2, 3, 128, 128)).double()
    for each in (plain, merged):
        codes, logits, _ = each.train().detect(data)
        torch.autograd.backward(codes.square().mean() + logits.square().mean())
    theirs = dict(plain.named_parameters())
    for name, parameter in merged.named_parameters():
        expected = theirs[name].grad
        assert torch.allclose(parameter.grad, expected, rtol=1e-6, atol=1e-9), name
    for name, value in network.layer_blobs().items():
        for one, other in zip(merged.layer_blobs()[name], value, strict=True):
            assert np.array_equal(one, other), name


def test_weights_of_wrong_shapes_are_all_named(tiny: Path, tmp_path: Path) -> None:
    network = CaffeNetwork(caffe.load(tiny / "deploy.prototxt", None))
    blobs = network.layer_blobs()
    blobs["Conv"] = (blobs["Conv"][0][:4],)
    blobs["Conv/bn"] = (blobs["Conv/bn"][0][:1], *blobs["Conv/bn"][1:])
    weights.write(tmp_path / "odd.caffemodel", "odd", blobs)
    with pytest.raises(CaffeError) as caught:
        CaffeNetwork(caffe.load(tiny / "deploy.prototxt", tmp_path / "odd.caffemodel"))
    assert [problem.layer for problem in caught.value.diagnostics] == ["Conv", "Conv/bn"]
    assert "expected shape [8, 3, 3, 3], found [4, 3, 3, 3]" in str(caught.value)


def test_each_parameter_has_the_factors_of_its_prototxt(tiny: Path) -> None:
    network = CaffeNetwork(caffe.load(tiny / "train.prototxt", None, phase="TRAIN"))
    rates = {each.name: (each.lr_mult, each.decay_mult) for each in network.trained_parameters()}
    assert rates["Conv.weight"] == (1.0, 1.0)
    heads = [name for name in rates if "mbox" in name and name.endswith("bias")]
    assert heads
    assert all(rates[name] == (2.0, 0.0) for name in heads)
    assert not any("running" in name for name in rates)


def test_every_layer_that_cannot_be_trained_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n'
        'layer { name: "norm" type: "LRN" bottom: "data" top: "norm" }\n'
        'layer { name: "depth" type: "DepthwiseConvolution" bottom: "norm" top: "depth"\n'
        "  convolution_param { num_output: 3 kernel_size: 3 } }\n"
        'layer { name: "wide" type: "Convolution" bottom: "data" top: "wide"\n'
        "  convolution_param { num_output: 4 kernel_size: 3 kernel_h: 1 } }\n"
        'layer { name: "soft" type: "TanH" bottom: "wide" top: "soft" }\n'
    )
    with pytest.raises(CaffeError) as caught:
        CaffeNetwork(caffe.load(path, None))
    assert [problem.layer for problem in caught.value.diagnostics] == ["norm", "wide", "soft"]
