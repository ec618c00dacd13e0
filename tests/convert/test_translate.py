"""The walk over a network: every problem at once, each once, constants and names on the way."""

from collections.abc import Sequence

import numpy as np
import pytest
from google.protobuf import text_format

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network
from convert.graph import BATCH, GraphBuilder, Value
from convert.layers.registry import Handler
from convert.translate import TranslationError, build_graph


def network(layers: str, **inputs: tuple[int, ...]) -> Network:
    parsed = text_format.Parse(layers, caffe_pb2.NetParameter())
    return Network(
        "test",
        inputs or {"data": (1, 3, 8, 8)},
        tuple(
            Layer(layer.name, layer.type, 10 * number, tuple(layer.bottom), tuple(layer.top), layer)
            for number, layer in enumerate(parsed.layer, start=1)
        ),
    )


def layer(name: str, layer_type: str, bottom: str, rest: str = "") -> str:
    return (
        f'layer {{ name: "{name}" type: "{layer_type}" bottom: "{bottom}" top: "{name}" {rest} }}\n'
    )


def problems(text: str, **inputs: tuple[int, ...]) -> TranslationError:
    with pytest.raises(TranslationError) as caught:
        build_graph(network(text, **inputs), GraphBuilder())
    return caught.value


def test_all_problems_come_at_once_with_layer_and_line() -> None:
    error = problems(
        layer("a", "Convolution", "data", "convolution_param { kernel_size: 3 }")
        + layer("b", "ReLU", "data")
        + layer("c", "Slice", "data", "slice_param { axis: 9 }")
        + layer("d", "Nonsense", "data")
    )
    assert [(problem.layer, problem.line) for problem in error.diagnostics] == [
        ("a", 10),
        ("c", 30),
        ("d", 40),
    ]
    assert "3 problems" in str(error)
    assert "line 10, layer a: num_output is missing" in str(error)


def test_layers_after_a_failed_one_report_nothing() -> None:
    text = layer("a", "Nonsense", "data")
    text += layer("b", "Concat", "a", "concat_param { axis: 9 }") + layer("c", "ReLU", "b")
    assert [problem.layer for problem in problems(text).diagnostics] == ["a"]


def test_layers_after_a_failed_one_still_need_a_handler() -> None:
    error = problems(layer("a", "Nonsense", "data") + layer("b", "Folly", "a"))
    assert [problem.layer for problem in error.diagnostics] == ["a", "b"]


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("Convolutoin", "Convolution"), ("relu", "ReLU"), ("BatchNormalization", "BatchNorm")],
)
def test_an_unknown_type_suggests_similar_ones(wrong: str, near: str) -> None:
    (problem,) = problems(layer("a", wrong, "data")).diagnostics
    assert problem.message.startswith(f"layers of type {wrong} can't be converted; did you mean")
    assert near in problem.message


def test_a_type_like_no_other_gets_no_guess() -> None:
    (problem,) = problems(layer("a", "Xyzzy", "data")).diagnostics
    assert "did you mean" not in problem.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layer { name: "a" type: "ReLU" top: "a" }', "expected 1 bottom, found 0"),
        ('layer { name: "a" type: "ReLU" bottom: "data" }', "expected 1 top, found 0"),
        (
            'layer { name: "a" type: "Eltwise" top: "a" }',
            "expected 1 or more bottoms, found 0",
        ),
        (
            'layer { name: "a" type: "Bias" ' + 'bottom: "data" ' * 3 + 'top: "a" }',
            "expected 1 to 2 bottoms, found 3",
        ),
    ],
)
def test_a_layer_with_too_few_or_too_many_bottoms_or_tops_is_explained(
    text: str, message: str
) -> None:
    (problem,) = problems(text).diagnostics
    assert problem.message == message


def test_an_input_that_the_graph_has_already_is_taken_from_there() -> None:
    graph = GraphBuilder()
    images = graph.input("images", (BATCH, 8, 8, 3), np.uint8)
    floats = graph.node("Cast", [images], images.shape, to=1)
    planes = graph.node("Transpose", [floats], (BATCH, 3, 8, 8), name="data", perm=[0, 3, 1, 2])
    graph.bind("data", planes)
    build_graph(network(layer("relu", "ReLU", "data")), graph)
    assert graph.inputs == ["images"]
    assert graph.blobs["relu"].shape == (BATCH, 3, 8, 8)


def test_dropout_and_split_leave_no_node() -> None:
    graph = GraphBuilder()
    text = layer("drop", "Dropout", "data") + layer("split", "Split", "drop")
    build_graph(network(text + layer("relu", "ReLU", "split")), graph)
    assert [node.operator for node in graph.nodes] == ["Relu"]
    assert graph.blobs["split"] is graph.blobs["data"]


def test_layers_on_constants_become_constants() -> None:
    """As SSD's priors do: PriorBox of each feature map, then Concat."""

    def priors(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
        content = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
        return graph.constant(content, layer.tops[0], exact_name=True)

    graph = GraphBuilder()
    text = (
        layer("p", "PriorBox", "data")
        + layer("q", "PriorBox", "data")
        + 'layer { name: "joined" type: "Concat" bottom: "p" bottom: "q" top: "joined" '
        "concat_param { axis: 2 } }\n"
        + layer("flat", "Flatten", "joined")
        + layer("turned", "Permute", "joined", "permute_param { order: 0 order: 2 order: 1 }")
        + layer("shaped", "Reshape", "turned", "reshape_param { shape { dim: 0 dim: -1 dim: 4 } }")
    )
    overrides = {"PriorBox": Handler("PriorBox", priors, (1, 1), (1, 1))}
    build_graph(network(text), graph, overrides)
    assert not graph.nodes
    for name, shape in {"joined": (1, 2, 8), "flat": (1, 16), "shaped": (1, 4, 4)}.items():
        value = graph.blobs[name]
        assert value.shape == shape
        assert value.constant is not None
        assert value.constant.shape == shape


def test_generated_names_do_not_replace_those_of_the_network() -> None:
    graph = GraphBuilder()
    text = layer("up", "Power", "data", "power_param { scale: 2 shift: 1 }")
    build_graph(network(text + layer("data/Mul", "ReLU", "up")), graph)
    assert graph.blobs["data/Mul"].name == "data/Mul"


def test_the_need_for_the_size_of_a_moved_batch_is_explained() -> None:
    text = layer("turned", "Permute", "data", "permute_param { order: 1 order: 0 }")
    error = problems(text + layer("cut", "Slice", "turned"))
    (problem,) = error.diagnostics
    assert (problem.layer, problem.line) == ("cut", 20)
    assert "axis 1 of turned is the batch" in problem.message


def test_a_blob_larger_than_caffe_can_count_is_explained() -> None:
    (problem,) = problems(
        layer("huge", "Tile", "data", "tile_param { tiles: 100000000 }")
    ).diagnostics
    assert "too large for Caffe" in problem.message
