"""Large models need little memory besides the weights, and sizes are limited."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from convert.caffe import network, weights, wire
from convert.caffe.diagnostics import CaffeError
from convert.conversion import convert_file
from convert.graph import MAX_FOLDED, GraphBuilder
from convert.options import Options
from convert.report import Status
from convert.simulation import simulate
from convert.verify import smaller_input
from tests.convert import networks
from tests.convert.zoo.writer import Net

MIB = 1 << 20
ALLOWANCE = 300 * MIB
"""For Python, its libraries and OpenCV."""


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


Make = Callable[..., Files]


def peak(*arguments: object) -> int:
    """The most memory in bytes that `sfd convert` has with these arguments."""
    program = (
        "import re, sys; from sfd.cli import main; code = main(sys.argv[1:]);"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "convert", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    # Not ru_maxrss: it starts with the memory of the process that forked this one.
    return int(done.stdout.splitlines()[-1]) * 1024


def write_model(folder: Path, text: str) -> tuple[Path, Path]:
    prototxt, caffemodel = folder / "deploy.prototxt", folder / "weights.caffemodel"
    prototxt.write_text(text)
    made = simulate(network.load(prototxt, None), 1)
    weights.write(
        caffemodel, made.name, {layer.name: layer.blobs for layer in made.layers if layer.blobs}
    )
    return prototxt, caffemodel


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A model of hundreds of megabytes, which takes seconds to write."""
    folder = tmp_path_factory.mktemp("heavy")
    yield write_model(folder, networks.vgg(64, ((1, 16), (1, 32)), 6144))
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("verify", ["--verify", "--no-verify"])
def test_memory_is_at_most_three_times_the_weights(
    heavy: tuple[Path, Path], tmp_path: Path, verify: str
) -> None:
    size = heavy[1].stat().st_size
    assert size > 350 * MIB
    output = tmp_path / "out.onnx"
    assert peak(*heavy, "-o", output, verify) <= 3 * size + ALLOWANCE
    # Nobody needs hundreds of megabytes until the end of the run.
    output.unlink()


@pytest.mark.parametrize("partition", [False, True])
def test_a_large_input_is_verified_at_a_smaller_size(tmp_path: Path, *, partition: bool) -> None:
    net = Net(2400)
    top = net.pool(net.conv_relu("data", 20, 5))
    net.layer("Softmax", net.conv(net.conv_relu(top, 40), 2, 1))
    files = write_model(tmp_path, net.text)
    report = convert_file(*files, tmp_path / "out.onnx", Options(partition=partition))
    assert report.wide == 1
    assert report.verification.status is Status.VERIFIED
    assert report.verification.input_size == "288x288"
    assert report.input["shape"] == ["batch", 3, 2400, 2400]
    if sys.platform == "linux":
        option = "--partition" if partition else "--no-partition"
        assert peak(*files, "-o", tmp_path / "out.onnx", option) <= ALLOWANCE


def test_a_network_whose_graph_depends_on_its_input_is_verified_at_its_size(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smaller_input, "MAX_ELEMENTS", 1000)
    model = tiny()
    report = convert_file(
        model.prototxt, model.caffemodel, tmp_path / "out.onnx", Options(input_size=(320, 320))
    )
    assert report.verification.status is Status.VERIFIED
    assert report.verification.input_size == ""


PRIORS = """\
input: "data" input_shape { dim: 1 dim: 3 dim: SIDE dim: SIDE }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
        pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "priors" type: "PriorBox" bottom: "pool" bottom: "data" top: "priors"
        prior_box_param { MORE variance: 0.1 } }
"""


@pytest.mark.parametrize(
    ("side", "more", "says"),
    [
        (16_000, "min_size: 1", "makes 64,000,000 priors, and the layers before it 0, but"),
        (64, " ".join(f"min_size: {n}" for n in range(1, 2000)), "give at most 1000 of each"),
        (
            64,
            "min_size: 1 " + " ".join(f"aspect_ratio: {1 + n / 1e5}" for n in range(1, 20_000)),
            "has 1 min_size and 19999 aspect_ratio: give at most 1000 of each",
        ),
    ],
    ids=["cells", "sizes", "ratios"],
)
def test_too_many_priors_are_refused_at_once(
    tmp_path: Path, side: int, more: str, says: str
) -> None:
    path = tmp_path / "deploy.prototxt"
    path.write_text(PRIORS.replace("SIDE", str(side)).replace("MORE", more))
    with pytest.raises(CaffeError, match=says):
        convert_file(path, None, tmp_path / "out.onnx", Options(simulated_weights=1))


def test_constants_are_computed_only_where_they_stay_small() -> None:
    graph = GraphBuilder()
    one = graph.constant(np.ones((1, 4), np.float32), "one")
    for count, folded in ((MAX_FOLDED // 4, True), (MAX_FOLDED // 4 + 1, False)):
        times = graph.constant(np.array([count, 1], np.int64), "times")
        made = graph.node("Tile", [one, times], (count, 4))
        assert (made.constant is not None) is folded
        assert (len(graph.nodes) == 0) is folded


def test_large_files_are_read_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, caffemodel = write_model(tmp_path, networks.resnet(64, (1, 1), 32))
    plain = weights.read_all(caffemodel)
    monkeypatch.setattr(weights, "MAPPED_BYTES", 0)
    mapped = weights.read_all(caffemodel)
    assert mapped.warnings == plain.warnings
    arrays = []
    for one, other in zip(plain.layers, mapped.layers, strict=True):
        assert (one.name, one.type, one.problems) == (other.name, other.type, other.problems)
        for expected, found in zip(one.blobs, other.blobs, strict=True):
            np.testing.assert_array_equal(expected, found)
            if expected.nbytes >= 5000:
                arrays.append(found)
    assert arrays
    assert not any(array.flags.owndata or array.flags.writeable for array in arrays)
    wire.release(arrays)
    np.testing.assert_array_equal(arrays[0], mapped.layers[0].blobs[0])


@pytest.mark.parametrize("cut", [1, 1000, 20_000])
def test_a_damaged_large_file_is_explained_as_a_small_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    _, caffemodel = write_model(tmp_path, networks.resnet(64, (1, 1), 32))
    caffemodel.write_bytes(caffemodel.read_bytes()[:-cut])
    said = []
    for least in (weights.MAPPED_BYTES, 0):
        monkeypatch.setattr(weights, "MAPPED_BYTES", least)
        with pytest.raises(CaffeError) as caught:
            weights.read_all(caffemodel)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "truncated" in said[0]
