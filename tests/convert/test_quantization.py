"""int8 files: what is quantized, and that onnxruntime still runs them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from convert.conversion import convert_file
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.quantization import QuantizationError, head_nodes, quantize
from detection.precision import Precision, lacking, processor_features
from geometry.arrays import U8
from tests.store.conftest import written
from training.architecture.family import Architecture


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, smallest: Architecture) -> Path:
    """A small detector of random weights, 64x64 pixels."""
    folder = tmp_path_factory.mktemp("source")
    files = written(folder, smallest)
    options = Options(output=Kind.HEADS, verify=False)
    convert_file(files.prototxt, files.caffemodel, folder / "model.onnx", options)
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def quantized(source: Path) -> onnx.ModelProto:
    return onnx.load_from_string(quantize(source, images()))


def images(count: int = 4) -> Iterator[U8]:
    random = np.random.default_rng(0)
    for _ in range(count):
        yield random.integers(0, 256, (64, 64, 3), np.uint8)


def test_the_heads_are_the_last_convolutions_and_what_is_behind_them(source: Path) -> None:
    graph = onnx.load(source).graph
    heads = head_nodes(graph)
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    assert {name for name in convolutions if name in heads} == {
        name for name in convolutions if "mbox" in name
    }
    assert {graph.output[0].name, graph.output[1].name} <= {
        output for node in graph.node if node.name in heads for output in node.output
    }


def test_every_other_convolution_has_int8_weights_with_a_scale_for_each_channel(
    quantized: onnx.ModelProto,
) -> None:
    tensors = {tensor.name: tensor for tensor in quantized.graph.initializer}
    makers = {output: node for node in quantized.graph.node for output in node.output}
    heads = head_nodes(quantized.graph)
    others = [n for n in quantized.graph.node if n.op_type == "Conv" and n.name not in heads]
    assert others
    for node in others:
        weights = makers[node.input[1]]
        assert weights.op_type == "DequantizeLinear"
        stored = tensors[weights.input[0]]
        assert stored.data_type == TensorProto.INT8
        assert list(tensors[weights.input[1]].dims) == [stored.dims[0]]


def test_the_weights_of_the_heads_stay_in_float32(quantized: onnx.ModelProto) -> None:
    types = {tensor.name: tensor.data_type for tensor in quantized.graph.initializer}
    heads = head_nodes(quantized.graph)
    weights = [
        node.input[1] for node in quantized.graph.node
        if node.op_type == "Conv" and node.name in heads
    ]  # fmt: skip
    assert {types[name] for name in weights} == {TensorProto.FLOAT}


def test_onnxruntime_gives_almost_the_same_outputs(
    source: Path, quantized: onnx.ModelProto
) -> None:
    reason = lacking(Precision.INT8, processor_features())
    if reason is not None:
        # There, sums of two int8 products saturate at 16 bits.
        pytest.skip(reason)
    inputs = {"images": np.stack(list(images(2)))}
    expected, found = (
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, inputs)
        for file in (source.read_bytes(), quantized.SerializeToString())
    )
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        # Random weights spread the errors more than trained ones.
        np.testing.assert_allclose(other, one, atol=0.1)
        assert not np.array_equal(other, one)


def test_the_metadata_stay_but_the_file_is_not_called_verified(
    source: Path, quantized: onnx.ModelProto
) -> None:
    before = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    after = {entry.key: entry.value for entry in quantized.metadata_props}
    assert after["sfd.verification"] == "unverified: quantized to INT8"
    assert before | {"sfd.verification": ""} == {
        key: "" if key == "sfd.verification" else value
        for key, value in after.items()
        if key.startswith("sfd.")
    }


def test_a_network_without_a_convolution_before_its_heads_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["images"], ["boxes"], "only")
    value = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("images", "boxes")
    ]
    model = helper.make_model(helper.make_graph([node], "none", value[:1], value[1:]))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(QuantizationError, match="has no convolution to quantize"):
        quantize(tmp_path / "model.onnx", images())
