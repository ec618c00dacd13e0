"""A teacher in onnxruntime predicts what the same network predicts in torch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from convert.caffe import network as caffe  # noqa: E402
from convert.caffe.network import CaffeError, Network  # noqa: E402
from training.distillation.teacher import OnnxTeacher  # noqa: E402

if TYPE_CHECKING:
    from training.network.network import CaffeNetwork


@pytest.fixture
def trained(network: "Callable[[int], CaffeNetwork]", tiny: Path, tmp_path: Path) -> Network:
    network(1).save(tmp_path / "trained.caffemodel")
    return caffe.load(tiny / "deploy.prototxt", tmp_path / "trained.caffemodel")


def test_a_teacher_predicts_what_torch_predicts_at_any_size(
    network: "Callable[[int], CaffeNetwork]", trained: Network
) -> None:
    teacher = OnnxTeacher(trained)
    for batch, size in ((2, 128), (1, 256), (3, 128)):
        data = (60 * torch.randn(batch, 3, size, size)).to(memory_format=torch.channels_last)
        with torch.no_grad():
            expected = network(1).detect(data)
        found = teacher.detect(data)
        assert expected[1].std() > 0.1
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape == theirs.shape
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_teachers_blobs_may_have_any_name(
    network: "Callable[[int], CaffeNetwork]", tiny: Path, tmp_path: Path
) -> None:
    network(1).save(tmp_path / "trained.caffemodel")
    deploy = (tiny / "deploy.prototxt").read_text()
    for name, other in (
        ("data", "image"),
        ("mbox_priorbox", "logits"),
        ("mbox_conf_sigmoid", "data"),
    ):
        assert f'"{name}"' in deploy
        deploy = deploy.replace(f'"{name}"', f'"{other}"')
    (tmp_path / "deploy.prototxt").write_text(deploy)
    teacher = OnnxTeacher(caffe.load(tmp_path / "deploy.prototxt", tmp_path / "trained.caffemodel"))
    data = 60 * torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        expected = network(1).detect(data)
    for ours, theirs in zip(teacher.detect(data), expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_published_teacher_predicts_what_torch_predicts(shared: Path) -> None:
    from training.network.network import CaffeNetwork

    folder = shared / "models/upstream/sfd-320-mod11g"
    source = caffe.load(folder / "deploy.prototxt", folder / "weights.caffemodel")
    data = 60 * torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        expected = CaffeNetwork(source).eval().detect(data)
    for ours, theirs in zip(OnnxTeacher(source).detect(data), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


def test_a_network_without_detections_is_refused(trained: Network) -> None:
    layers = tuple(layer for layer in trained.layers if layer.type != "DetectionOutput")
    with pytest.raises(CaffeError, match="no detection or loss layer"):
        OnnxTeacher(replace(trained, layers=layers))
