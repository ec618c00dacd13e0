"""Random weights instead of a caffemodel."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from convert.caffe import network
from convert.caffe.network import CaffeError
from convert.conversion import convert_file
from convert.options import Options
from convert.report import Status
from convert.simulation import simulate
from sfd.cli import run_command
from tests.convert import networks
from tests.convert.zoo.writer import Net

SHARED = """\
input: "data" input_shape { dim: 1 dim: 2 dim: 8 dim: 8 }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" param { name: "w" }
        convolution_param { num_output: 2 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "b" type: "Convolution" bottom: "a" top: "b" param { name: "w" }
        convolution_param { num_output: 2 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "c" type: "Nonsense" bottom: "b" top: "c" }
layer { name: "d" type: "InnerProduct" bottom: "c" top: "d" inner_product_param { num_output: 2 } }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "deploy.prototxt"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in networks.small()])
def test_simulated_networks_convert_and_give_finite_answers(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    report = convert_file(path, None, tmp_path / "out.onnx", Options(simulated_weights=5))
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    assert all(np.isfinite(each.difference) for each in report.verification.comparisons)
    assert max(each.bound for each in report.verification.comparisons) > 1e-8
    properties = {each.key: each.value for each in onnx.load(tmp_path / "out.onnx").metadata_props}
    assert properties["sfd.weights"] == "simulated with seed 5"


def test_a_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    read = network.load(write(tmp_path, networks.resnet(64, (1, 1), 8)), None)
    one, same, other = (
        np.concatenate([blob.ravel() for layer in made.layers for blob in layer.blobs])
        for made in (simulate(read, 1), simulate(read, 1), simulate(read, 2))
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.9


def test_layers_that_share_a_parameter_get_one(tmp_path: Path) -> None:
    text = SHARED.partition('layer { name: "c"')[0]
    a, b = simulate(network.load(write(tmp_path, text), None), 1).layers
    np.testing.assert_array_equal(a.blobs[0], b.blobs[0])


def test_missing_weights_after_an_unknown_layer_are_not_reported(tmp_path: Path) -> None:
    with pytest.raises(CaffeError) as caught:
        convert_file(
            write(tmp_path, SHARED), None, tmp_path / "out.onnx", Options(simulated_weights=1)
        )
    assert [problem.layer for problem in caught.value.diagnostics] == ["c"]
    assert "weights" not in str(caught.value)


def test_a_network_without_weights_needs_none(tmp_path: Path) -> None:
    net = Net(64)
    net.layer("ReLU", "data")
    path = write(tmp_path, net.text)
    report = convert_file(path, None, tmp_path / "out.onnx", Options(simulated_weights=1))
    assert report.warnings == ()
    assert report.verification.status is Status.VERIFIED


def test_a_bilinear_filler_is_used(tmp_path: Path) -> None:
    made = simulate(network.load(write(tmp_path, networks.fcn(64)), None), 1)
    [layer] = [layer for layer in made.layers if layer.type == "Deconvolution"]
    row = [0.25, 0.75, 0.75, 0.25]
    np.testing.assert_allclose(layer.blobs[0][0, 0], np.outer(row, row))


def test_the_command_simulates_weights_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = write(tmp_path, networks.vgg(32, ((1, 4), (1, 8)), 16)), tmp_path / "r.json"
    more = ["--simulate-weights", "3", "-o", str(tmp_path / "out.onnx"), "--report", str(report)]
    assert run_command("convert", [str(path), *more]) == 0
    assert "verified" in capsys.readouterr().out
    assert json.loads(report.read_text())["metadata"]["sfd.weights"] == "simulated with seed 3"
    assert run_command("convert", [str(path), str(path), *more]) == 2
    assert "leave one out" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "x", "1.5", ""])
def test_a_seed_is_a_whole_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command("convert", ["a", f"--simulate-weights={seed}", "-o", str(tmp_path / "o.onnx")])
    assert caught.value.code == 2
    assert "is not a whole number of at least 0" in capsys.readouterr().err
