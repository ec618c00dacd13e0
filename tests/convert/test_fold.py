"""Folding keeps every number and every output, and leaves no constant that could be merged."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.fold import FoldError, fold
from convert.graph import BATCH, GraphBuilder, Value
from geometry.arrays import F32, F64


def normal(*shape: int) -> F64:
    """Numbers that depend on their shape alone."""
    return np.asarray(np.random.default_rng([6, *shape]).normal(size=shape))


def convolution(graph: GraphBuilder, x: Value, name: str = "conv", *, bias: bool = True) -> Value:
    constants = [graph.constant(normal(4, 3, 3, 3), f"{name}/weight")]
    if bias:
        constants.append(graph.constant(normal(4), f"{name}/bias"))
    shape = (BATCH, 4, 6, 6)
    return graph.node("Conv", [x, *constants], shape, name=name, kernel_shape=[3, 3], group=1)


def deconvolution(graph: GraphBuilder, x: Value) -> Value:
    weight = graph.constant(normal(3, 4, 2, 2), "deconv/weight")
    return graph.node(
        "ConvTranspose", [x, weight], (BATCH, 4, 9, 9), name="deconv", kernel_shape=[2, 2], group=1
    )


def grouped_deconvolution(graph: GraphBuilder, x: Value) -> Value:
    weight = graph.constant(normal(4, 3, 2, 2), "deconv/weight")
    inner = convolution(graph, x)
    return graph.node(
        "ConvTranspose",
        [inner, weight],
        (BATCH, 6, 7, 7),
        name="deconv",
        kernel_shape=[2, 2],
        group=2,
    )


def inner_product(graph: GraphBuilder, x: Value, *, transposed: bool) -> Value:
    flat = graph.node("Flatten", [x], (BATCH, 192), axis=1)
    shape = (4, 192) if transposed else (192, 4)
    weight = graph.constant(normal(*shape), "fc/weight")
    return graph.node("Gemm", [flat, weight], (BATCH, 4), name="fc", transB=int(transposed))


def step(graph: GraphBuilder, operator: str, x: Value, constant: F64, name: str) -> Value:
    return graph.node(operator, [x, graph.constant(constant, f"{name}/c")], x.shape, name=name)


def row_of_steps(graph: GraphBuilder, x: Value) -> Value:
    """BatchNorm, Scale with bias and a Power, as their handlers write them."""
    spread = (x.static(1), *(1,) * (x.rank - 2))
    for position, operator in enumerate(["Mul", "Add", "Mul", "Add"]):
        x = step(graph, operator, x, normal(*spread), f"step{position}")
    return step(graph, "Mul", x, normal(), "last")


def start() -> tuple[GraphBuilder, Value]:
    graph = GraphBuilder()
    return graph, graph.input("data", (BATCH, 3, 8, 8))


def results(graph: GraphBuilder) -> dict[str, F32]:
    model = graph.model("test")
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"data": x}), strict=True))


def fold_and_compare(graph: GraphBuilder) -> list[str]:
    """The operators that are left after folding, having checked that the numbers are too."""
    before = results(graph)
    fold(graph)
    after = results(graph)
    assert before.keys() == after.keys()
    for name, expected in before.items():
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=1e-5 * scale)
    return [node.operator for node in graph.nodes]


MAKERS: dict[str, Callable[[GraphBuilder, Value], Value]] = {
    "convolution": convolution,
    "convolution without bias": lambda graph, x: convolution(graph, x, bias=False),
    "deconvolution": deconvolution,
    "grouped deconvolution": grouped_deconvolution,
    "inner product": lambda graph, x: inner_product(graph, x, transposed=True),
    "inner product, transposed": lambda graph, x: inner_product(graph, x, transposed=False),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_steps_for_each_channel_are_folded_into_the_weights_before(
    make: Callable[[GraphBuilder, Value], Value],
) -> None:
    graph, x = start()
    graph.output("last", row_of_steps(graph, make(graph, x)))
    left = fold_and_compare(graph)
    assert not {"Mul", "Add"}.intersection(left)


def test_the_folded_weights_keep_their_names() -> None:
    graph, x = start()
    graph.output("last", row_of_steps(graph, convolution(graph, x, bias=False)))
    fold(graph)
    (node,) = graph.model("test").graph.node
    assert list(node.input) == ["data", "conv/weight", "conv/bias"]
    assert list(node.output) == ["last"]


def test_without_weights_before_a_chain_becomes_one_mul_and_one_add() -> None:
    graph, x = start()
    relu = graph.node("Relu", [x], x.shape)
    graph.output("last", row_of_steps(graph, relu))
    assert fold_and_compare(graph) == ["Relu", "Mul", "Add"]


@pytest.mark.parametrize(("operator", "constant"), [("Mul", 1.0), ("Add", 0.0)])
def test_a_chain_that_changes_nothing_keeps_the_outputs_name(
    operator: str, constant: float
) -> None:
    graph, x = start()
    graph.output("same", step(graph, operator, x, np.array(constant), "same"))
    assert fold_and_compare(graph) == ["Mul"]


def test_a_sum_alone_stays_an_add() -> None:
    graph, x = start()
    graph.output("sum", step(graph, "Add", x, normal(3, 1, 1), "sum"))
    assert fold_and_compare(graph) == ["Add"]


def test_a_convolution_that_something_else_uses_stays_as_it_is() -> None:
    graph, x = start()
    conv = convolution(graph, x)
    scaled = step(graph, "Mul", conv, normal(4, 1, 1), "scaled")
    graph.output("sum", graph.node("Add", [conv, scaled], conv.shape, name="sum"))
    assert fold_and_compare(graph) == ["Conv", "Mul", "Add"]


def test_a_convolution_that_is_an_output_stays_as_it_is() -> None:
    graph, x = start()
    conv = convolution(graph, x)
    graph.output("conv", conv)
    graph.output("scaled", step(graph, "Mul", conv, normal(4, 1, 1), "scaled"))
    assert fold_and_compare(graph) == ["Conv", "Mul"]


def test_a_step_with_another_reader_ends_the_chain() -> None:
    graph, x = start()
    first = step(graph, "Mul", convolution(graph, x), normal(4, 1, 1), "first")
    second = step(graph, "Add", first, normal(4, 1, 1), "second")
    graph.output("sum", graph.node("Add", [first, second], first.shape, name="sum"))
    assert fold_and_compare(graph) == ["Conv", "Add", "Add"]


@pytest.mark.parametrize("shape", [(4, 6, 6), (6, 1), (6,)])
def test_a_constant_that_varies_within_a_channel_stays_behind(shape: tuple[int, ...]) -> None:
    graph, x = start()
    graph.output("out", step(graph, "Mul", convolution(graph, x), normal(*shape), "out"))
    assert fold_and_compare(graph) == ["Conv", "Mul"]


def test_one_number_serves_all_channels() -> None:
    graph, x = start()
    graph.output("out", step(graph, "Add", convolution(graph, x), normal(), "out"))
    assert fold_and_compare(graph) == ["Conv"]


def test_convolutions_that_share_weights_each_get_their_own() -> None:
    graph, x = start()
    weight = graph.constant(normal(4, 3, 1, 1), "weight")
    for name in "ab":
        conv = graph.node("Conv", [x, weight], (BATCH, 4, 8, 8), kernel_shape=[1, 1], group=1)
        graph.output(name, step(graph, "Mul", conv, normal(4, 1, 1), name))
    plain = graph.node("Conv", [x, weight], (BATCH, 4, 8, 8), name="c", group=1)
    graph.output("c", plain)
    assert fold_and_compare(graph) == ["Conv"] * 3


def test_a_sum_of_two_values_is_not_a_constant_step() -> None:
    graph, x = start()
    conv = convolution(graph, x)
    graph.output("double", graph.node("Add", [conv, conv], conv.shape, name="double"))
    assert fold_and_compare(graph) == ["Conv", "Add"]


def test_a_constant_that_widens_the_value_is_left_alone() -> None:
    graph, x = start()
    one = graph.node("GlobalMaxPool", [x], (BATCH, 3, 1, 1))
    wide = graph.node("Mul", [one, graph.constant(normal(5, 5), "c")], (BATCH, 3, 5, 5))
    graph.output("out", step(graph, "Add", wide, normal(3, 1, 1), "out"))
    assert fold_and_compare(graph) == ["GlobalMaxPool", "Mul", "Add"]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(["Mul", "Add"]), st.sampled_from([(), (4, 1, 1), (4, 6, 6)])),
        max_size=6,
    ),
    st.integers(0, 1000),
)
def test_any_chain_of_steps_keeps_its_numbers(
    steps: list[tuple[str, tuple[int, ...]]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    graph, x = start()
    x = convolution(graph, x)
    for position, (operator, shape) in enumerate(steps):
        constant = np.asarray(rng.normal(size=shape))
        x = step(graph, operator, x, constant, f"step{position}")
    graph.output("out", graph.node("Relu", [x], x.shape, name="out"))
    left = fold_and_compare(graph)
    assert len(left) <= 4


@pytest.mark.parametrize("absorbed", [True, False])
def test_steps_that_together_are_too_large_for_float32_are_refused(absorbed: bool) -> None:
    graph, x = start()
    value = convolution(graph, x) if absorbed else x
    for number in (1, 2):
        value = step(graph, "Mul", value, np.full((), 1e30), f"s{number}")
    graph.outputs.append(value.name)
    with pytest.raises(FoldError, match="too large for float32"):
        fold(graph)
