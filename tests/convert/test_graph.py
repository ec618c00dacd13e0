"""The graph builder: names, constants, outputs, and the file that it writes."""

import numpy as np
import onnx
import onnxruntime
import pytest

from convert.graph import BATCH, GraphBuilder


@pytest.fixture
def graph() -> GraphBuilder:
    graph = GraphBuilder()
    graph.input("data", (BATCH, 2, 3))
    return graph


def run(graph: GraphBuilder, batch: int = 2) -> list[np.ndarray]:
    model = graph.model("test")
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.arange(6 * batch, dtype=np.float32).reshape(batch, 2, 3)
    results: list[np.ndarray] = session.run(None, {"data": x})
    return results


def test_only_inputs_are_inputs_and_constants_are_initializers(graph: GraphBuilder) -> None:
    x = graph.blobs["data"]
    two = graph.constant(2.0, "two")
    graph.output("twice", graph.node("Mul", [x, two], x.shape, name="twice"))
    model = graph.model("test")
    assert [value.name for value in model.graph.input] == ["data"]
    assert [tensor.name for tensor in model.graph.initializer] == ["two"]
    assert model.opset_import[0].version == 17
    assert model.opset_import[0].domain == ""


def test_the_batch_stays_open(graph: GraphBuilder) -> None:
    x = graph.blobs["data"]
    graph.output("abs", graph.node("Abs", [x], x.shape, name="abs"))
    dims = graph.model("test").graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == BATCH
    assert [dim.dim_value for dim in dims[1:]] == [2, 3]
    assert run(graph, 5)[0].shape == (5, 2, 3)


def test_constants_on_constants_are_computed_now(graph: GraphBuilder) -> None:
    a = graph.constant(np.array([[1, 2], [3, 4]], np.float32), "a")
    turned = graph.node("Transpose", [a], (2, 2), name="turned", perm=[1, 0])
    joined = graph.node("Concat", [a, turned], (2, 4), name="joined", axis=1)
    assert joined.constant is not None
    np.testing.assert_array_equal(joined.constant, [[1, 2, 1, 3], [3, 4, 2, 4]])
    assert not graph.nodes


def test_operators_on_windows_are_computed_as_onnxruntime_does(graph: GraphBuilder) -> None:
    """ONNX's reference implementation gets LRN, and groups of ConvTranspose, wrong."""
    twos = graph.constant(np.full((1, 4, 3, 3), 2, np.float32), "twos")
    alike = graph.node("LRN", [twos], twos.shape, alpha=1.0, beta=0.75, bias=1.0, size=5)
    assert alike.constant is not None
    sums = np.asarray([3, 4, 4, 3]) * 4 / 5 + 1
    found = alike.constant[0, :, 0, 0].astype(np.float64)
    np.testing.assert_allclose(found, 2 / sums**0.75, rtol=1e-5)

    each = graph.constant(np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1, 1), "each")
    shape = (1, 4, 5, 5)
    wide = graph.node("ConvTranspose", [twos, each], shape, group=4, strides=[2, 2])
    assert wide.constant is not None
    np.testing.assert_array_equal(wide.constant[0, :, 0, 0], [2, 4, 6, 8])
    assert not wide.constant[:, :, 1].any()


def test_a_computed_operator_may_have_several_outputs_and_inputs_left_out(
    graph: GraphBuilder,
) -> None:
    a = graph.constant(np.arange(6, dtype=np.float32), "a")
    parts = graph.node_with_outputs("Split", [a, None], [(3,), (3,)], axis=0)
    assert [part.constant is not None and part.constant.tolist() for part in parts] == [
        [0, 1, 2],
        [3, 4, 5],
    ]


def test_equal_constants_are_written_once(graph: GraphBuilder) -> None:
    x = graph.blobs["data"]
    for name in ("first", "second"):
        constant = graph.constant(np.ones(3, np.float32), f"{name}/c")
        x = graph.node("Mul", [x, constant], x.shape, name=name)
    graph.output("second", x)
    assert len(graph.model("test").graph.initializer) == 1


def test_equal_bytes_of_another_shape_or_type_are_not_the_same(graph: GraphBuilder) -> None:
    x = graph.blobs["data"]
    for content in (np.zeros(3, np.float32), np.zeros((1, 3), np.float32)):
        x = graph.node("Add", [x, graph.constant(content, "zeros")], x.shape)
    axes = graph.constant(np.zeros(1, np.int64), "axes")
    graph.output("y", graph.node("Unsqueeze", [x, axes], (1, *x.shape), name="y"))
    assert len(graph.model("test").graph.initializer) == 3


def test_float64_constants_are_written_as_float32(graph: GraphBuilder) -> None:
    x = graph.blobs["data"]
    third = graph.constant(1 / 3, "third")
    graph.output("y", graph.node("Mul", [x, third], x.shape, name="y"))
    (tensor,) = graph.model("test").graph.initializer
    assert onnx.numpy_helper.to_array(tensor) == np.float32(1 / 3)


def test_values_that_no_output_needs_are_not_written(graph: GraphBuilder) -> None:
    x = graph.blobs["data"]
    graph.node("Mul", [x, graph.constant(2.0, "two")], x.shape)
    graph.output("abs", graph.node("Abs", [x], x.shape, name="abs"))
    model = graph.model("test")
    assert [node.op_type for node in model.graph.node] == ["Abs"]
    assert not model.graph.initializer


def test_an_output_under_another_name_is_the_same_value(graph: GraphBuilder) -> None:
    x = graph.blobs["data"]
    y = graph.node("Neg", [x], x.shape, name="y")
    for name in ("y", "alias"):
        graph.output(name, y)
    first, second = run(graph)
    np.testing.assert_array_equal(first, second)


def test_an_input_and_a_constant_can_be_outputs(graph: GraphBuilder) -> None:
    graph.output("copy", graph.blobs["data"])
    graph.output("fixed", graph.constant(np.ones((1, 2), np.float32), "ones"))
    copy, fixed = run(graph)
    assert copy.shape == (2, 2, 3)
    np.testing.assert_array_equal(fixed, [[1, 1]])


def test_a_constant_under_an_outputs_own_name_can_be_an_output(graph: GraphBuilder) -> None:
    graph.output("abs", graph.node("Abs", [graph.blobs["data"]], (BATCH, 2, 3), name="abs"))
    value = graph.constant(np.ones(2, np.float32), "priors", exact_name=True)
    graph.output("priors", value)
    assert [output.name for output in graph.model("test").graph.output] == ["abs", "priors"]
    np.testing.assert_array_equal(run(graph)[1], [1, 1])


def test_a_name_is_never_given_twice(graph: GraphBuilder) -> None:
    with pytest.raises(ValueError, match="already has a value named data"):
        graph.input("data", (BATCH,))


def test_fresh_names_avoid_those_of_the_network(graph: GraphBuilder) -> None:
    graph.reserve(["data/Abs"])
    x = graph.blobs["data"]
    names = [graph.node("Abs", [x], x.shape).name for _ in range(2)]
    assert names == ["data/Abs_2", "data/Abs_3"]


def test_the_batch_has_no_size(graph: GraphBuilder) -> None:
    x = graph.blobs["data"]
    assert x.static(2) == 3
    with pytest.raises(ValueError, match="axis 0 of data is the batch"):
        x.static(0)


def test_metadata_is_written(graph: GraphBuilder) -> None:
    graph.output("abs", graph.node("Abs", [graph.blobs["data"]], (BATCH, 2, 3), name="abs"))
    (entry,) = graph.model("test", {"sfd.name": "faces"}).metadata_props
    assert (entry.key, entry.value) == ("sfd.name", "faces")


def test_an_input_cannot_be_an_output_of_the_same_name(graph: GraphBuilder) -> None:
    with pytest.raises(ValueError, match="data is an input"):
        graph.output("data", graph.blobs["data"])


def test_a_constant_that_is_an_output_still_serves_the_nodes_that_use_it(
    graph: GraphBuilder,
) -> None:
    x = graph.blobs["data"]
    three = graph.constant(np.full(3, 3.0), "three", exact_name=True)
    graph.output("y", graph.node("Mul", [x, three], x.shape, name="y"))
    graph.output("three", three)
    y, output = run(graph)
    np.testing.assert_array_equal(y[0, 0], [0, 3, 6])
    np.testing.assert_array_equal(output, [3, 3, 3])
