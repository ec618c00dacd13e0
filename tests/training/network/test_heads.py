"""The outputs of a detector are found in its network."""

from pathlib import Path

from convert.caffe import network as caffe
from training.network.heads import Heads, find_heads


def test_the_heads_of_a_deploy_network_come_before_the_sigmoid(tiny: Path) -> None:
    found = find_heads(caffe.load(tiny / "deploy.prototxt", None))
    assert found == Heads("mbox_loc_", "mbox_conf_reshape", "mbox_priorbox", 2, 0, "logistic")


def test_the_heads_of_a_train_network_are_those_of_its_loss(tiny: Path) -> None:
    found = find_heads(caffe.load(tiny / "train.prototxt", None, phase="TRAIN"))
    assert found == Heads("mbox_loc_", "mbox_conf_", "mbox_priorbox", 2, 0, "logistic")


def test_a_softmax_is_recognised(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "softmax.prototxt"
    text = (tiny / "deploy.prototxt").read_text()
    path.write_text(text.replace('"Sigmoid"', '"Softmax"'))
    found = find_heads(caffe.load(path, None))
    assert found is not None
    assert (found.logits, found.activation) == ("mbox_conf_reshape", "softmax")


def test_a_network_without_detections_has_no_heads(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n'
        'layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }\n'
    )
    assert find_heads(caffe.load(path, None)) is None
