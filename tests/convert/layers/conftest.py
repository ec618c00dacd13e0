"""Two references for each layer: OpenCV's Caffe importer, and formulas in the test in NumPy."""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network
from convert.fold import fold
from convert.graph import GraphBuilder, Shape
from convert.translate import TranslationError, build_graph
from geometry.arrays import F32

Blobs = Mapping[str, Sequence[NDArray[np.generic]]]
BATCH_SIZE = 7
TOLERANCE = 1e-5


def parse(
    layers: str, inputs: Mapping[str, F32], blobs: Blobs, stated_batch: int | None = None
) -> Network:
    """The network of some layers in prototxt text, without in-place layers.

    `stated_batch` is what the prototxt writes for the batch, by default that of the arrays.
    """
    parsed = text_format.Parse(layers, caffe_pb2.NetParameter())
    consumed = {bottom for layer in parsed.layer for bottom in layer.bottom}
    return Network(
        "test",
        {
            name: array.shape if stated_batch is None else (stated_batch, *array.shape[1:])
            for name, array in inputs.items()
        },
        tuple(
            Layer(
                layer.name,
                layer.type,
                number,
                tuple(layer.bottom),
                tuple(layer.top),
                layer,
                tuple(np.asarray(blob, np.float32) for blob in blobs.get(layer.name, ())),
            )
            for number, layer in enumerate(parsed.layer, start=1)
        ),
        tuple(top for layer in parsed.layer for top in layer.top if top not in consumed),
    )


def named(inputs: F32 | Mapping[str, F32]) -> dict[str, F32]:
    """The inputs by name; a single one is called data."""
    return dict(inputs) if isinstance(inputs, Mapping) else {"data": inputs}


@pytest.fixture
def to_onnx(capfd: pytest.CaptureFixture[str]) -> Callable[..., onnx.ModelProto]:
    """Translate layers, fold, and check the file: valid, silent when loaded, weights inside."""

    def convert(
        layers: str,
        inputs: F32 | Mapping[str, F32],
        blobs: Blobs | None = None,
        shapes: Mapping[str, Shape] | None = None,
        stated_batch: int | None = None,
    ) -> onnx.ModelProto:
        network = parse(layers, named(inputs), blobs or {}, stated_batch)
        graph = GraphBuilder()
        for name, shape in (shapes or {}).items():
            graph.input(name, shape)
        build_graph(network, graph)
        for name in network.outputs:
            graph.output(name, graph.blobs[name])
        fold(graph)
        model = graph.model("test")
        onnx.checker.check_model(model, full_check=True)
        assert {node.domain for node in model.graph.node} == {""}
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
        assert {value.name for value in model.graph.input} == set(network.inputs)
        capfd.readouterr()
        session(model)
        assert capfd.readouterr() == ("", "")
        return model

    return convert


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session on one thread that shows all warnings."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@pytest.fixture
def run(to_onnx: Callable[..., onnx.ModelProto]) -> Callable[..., dict[str, F32]]:
    """The outputs of the converted layers by name, which must not depend on the batch size."""

    def run_converted(
        layers: str,
        inputs: F32 | Mapping[str, F32],
        blobs: Blobs | None = None,
        stated_batch: int | None = None,
    ) -> dict[str, F32]:
        feed = named(inputs)
        loaded = session(to_onnx(layers, feed, blobs, stated_batch=stated_batch))
        names = [output.name for output in loaded.get_outputs()]
        together = dict(zip(names, loaded.run(None, feed), strict=True))
        count = len(next(iter(feed.values())))
        for row in range(count):
            alone = loaded.run(None, {name: array[row : row + 1] for name, array in feed.items()})
            for name, result in zip(names, alone, strict=True):
                if len(together[name]) == count:
                    np.testing.assert_allclose(
                        result[0], together[name][row], rtol=TOLERANCE, atol=TOLERANCE
                    )
        return together

    return run_converted


@pytest.fixture
def infer(to_onnx: Callable[..., onnx.ModelProto]) -> Callable[..., dict[str, F32]]:
    """The outputs of the converted layers by name, for layers whose first axis is no batch.

    `shapes` are those of inputs whose open dimension is another than the batch on axis 0.
    """

    def run_once(
        layers: str,
        inputs: F32 | Mapping[str, F32],
        blobs: Blobs | None = None,
        shapes: Mapping[str, Shape] | None = None,
        stated_batch: int | None = None,
    ) -> dict[str, F32]:
        feed = named(inputs)
        loaded = session(to_onnx(layers, feed, blobs, shapes, stated_batch))
        names = [output.name for output in loaded.get_outputs()]
        found = dict(zip(names, loaded.run(None, feed), strict=True))
        for output in loaded.get_outputs():
            array = found[output.name]
            assert len(output.shape) == array.ndim
            for stated, size in zip(output.shape, array.shape, strict=True):
                assert isinstance(stated, str) or stated == size
        return found

    return run_once


@pytest.fixture
def opencv() -> Callable[..., dict[str, F32]]:
    """The outputs by name that OpenCV computes for the same layers, image by image."""

    def run_opencv(
        layers: str, inputs: F32 | Mapping[str, F32], blobs: Blobs | None = None
    ) -> dict[str, F32]:
        feed = named(inputs)
        network = parse(layers, feed, blobs or {})
        header = "".join(
            f'input: "{name}" input_shape {{ {_dims((1, *array.shape[1:]))} }}\n'
            for name, array in feed.items()
        )
        weights = caffe_pb2.NetParameter(name="test")
        for layer in network.layers:
            stored = weights.layer.add(name=layer.name, type=layer.type)
            for blob in layer.blobs:
                proto = stored.blobs.add(data=blob.ravel().tolist())
                proto.shape.dim.extend(blob.shape)
        net = cv2.dnn.readNetFromCaffe(
            np.frombuffer((header + layers).encode(), np.uint8),
            np.frombuffer(weights.SerializeToString(), np.uint8),
        )
        rows: list[tuple[F32, ...]] = []
        for row in range(len(next(iter(feed.values())))):
            for name, array in feed.items():
                net.setInput(array[row : row + 1], name)
            rows.append(tuple(np.array(out) for out in net.forward(list(network.outputs))))
        return {
            name: np.concatenate(results)
            for name, results in zip(network.outputs, zip(*rows, strict=True), strict=True)
        }

    return run_opencv


@pytest.fixture
def agree(
    run: Callable[..., dict[str, F32]], opencv: Callable[..., dict[str, F32]]
) -> Callable[..., dict[str, F32]]:
    """Run the layers both ways and compare all outputs, shapes too."""

    def compare(
        layers: str,
        inputs: F32 | Mapping[str, F32],
        blobs: Blobs | None = None,
        stated_batch: int | None = None,
    ) -> dict[str, F32]:
        found, expected = run(layers, inputs, blobs, stated_batch), opencv(layers, inputs, blobs)
        assert found.keys() == expected.keys()
        for name in found:
            assert found[name].shape == expected[name].shape
            scale = max(1.0, float(np.abs(expected[name]).max()))
            np.testing.assert_allclose(found[name], expected[name], atol=TOLERANCE * scale, rtol=0)
        return found

    return compare


@pytest.fixture
def problems() -> Callable[..., list[str]]:
    """The messages of a failed translation."""

    def translate(
        layers: str,
        inputs: F32 | Mapping[str, F32],
        blobs: Blobs | None = None,
        stated_batch: int | None = None,
    ) -> list[str]:
        with pytest.raises(TranslationError) as caught:
            build_graph(parse(layers, named(inputs), blobs or {}, stated_batch), GraphBuilder())
        return [problem.message for problem in caught.value.diagnostics]

    return translate


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def images(rng: np.random.Generator) -> Callable[..., F32]:
    """Seven random images of some shape [channels, height, width]."""

    def make(*shape: int) -> F32:
        return rng.normal(size=(BATCH_SIZE, *shape)).astype(np.float32)

    return make


@pytest.fixture
def regions(rng: np.random.Generator) -> Callable[[int, int], dict[str, F32]]:
    """Features, and rois in and around the images, for layers that pool regions."""

    def bottoms(batch: int, channels: int) -> dict[str, F32]:
        """Features [batch, channels, 9, 11] of images of 44 by 36 pixels, and rois [12, 5]."""
        first = rng.uniform(-4, 40, size=(12, 2))
        last = first + rng.uniform(-2, 30, size=(12, 2))
        rois = np.concatenate([rng.integers(0, batch, size=(12, 1)), first, last], axis=1)
        rois[0, 1:] = [0, 0, 43, 35]
        rois[1, 1:] = [2, 6, 10, 14]  # halves, once scaled
        rois[2, 1:] = [30, 30, 10, 10]  # corners swapped
        rois[3, 1:] = [60, 50, 80, 70]  # outside
        rois[4, 1:] = [-30, -30, -10, -10]
        rois[5, 1:] = [8, 8, 8, 8]
        rois[6, 1:] = [0.5, 1.5, 20.5, 21.5]
        data = rng.normal(size=(batch, channels, 9, 11)).astype(np.float32)
        return {"data": data, "rois": rois.astype(np.float32)}

    return bottoms


def _dims(shape: Sequence[int]) -> str:
    return " ".join(f"dim: {size}" for size in shape)
