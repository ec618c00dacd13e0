"""The parts that LSTM and RNN share: sequences of vectors, and a step for each vector.

Caffe unrolls a recurrent layer in time (src/caffe/layers/recurrent_layer.cpp). ONNX has operators
for a whole sequence that starts from zeros. If sequences begin in the middle, a state is given, or
there is a static input, a Scan runs the steps instead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from convert.caffe.network import Layer
from convert.graph import Array, GraphBuilder, Shape, Value
from convert.layers.blobs import text
from convert.layers.registry import LayerError
from geometry.arrays import F32


@dataclass(frozen=True)
class Steps:
    """The bottoms of a recurrent layer."""

    x: Value
    """[time, batch, inputs]."""
    cont: Value | None
    """[time, batch]: 0 where a sequence begins, else 1; None if all begin at the first step."""
    static: Value | None
    """[batch, inputs], the same at each step."""
    states: tuple[Value, ...]
    """The states before the first step, [1, batch, outputs], with expose_hidden."""

    @property
    def whole(self) -> bool:
        """Whether one sequence without given states runs from the first step to the last."""
        if self.static is not None or self.states:
            return False
        if self.cont is None:
            return True
        return self.cont.constant is not None and bool((self.cont.constant[1:] == 1).all())


def weights(layer: Layer, graph: GraphBuilder, weight: F32, hidden: F32, bias: F32) -> list[Value]:
    """The weights as ONNX's operators take them: one direction, two biases, the second of zeros."""
    return [
        graph.constant(array[None], f"{layer.name}/{kind}")
        for kind, array in (
            ("input_weight", weight),
            ("hidden_weight", hidden),
            ("bias", np.concatenate([bias, np.zeros_like(bias)])),
        )
    ]


def read(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value], states: int) -> Steps:
    """Identify the bottoms of a layer with this number of states."""
    parameter = layer.parameter.recurrent_param
    if parameter.num_output < 1:
        raise LayerError("num_output is missing; state how many outputs the layer makes")
    hidden = states if parameter.expose_hidden else 0
    if len(layer.tops) != 1 + hidden:
        raise LayerError(f"expected {1 + hidden} tops, found {len(layer.tops)}")
    known = len(inputs) - hidden
    if known < (2 if hidden else 1) or known > 3:
        raise LayerError(
            f"expected x, cont, optionally a static input{', and the states' if hidden else ''}; "
            f"found {len(inputs)} bottoms"
        )
    x = flattened(graph, inputs[0], 2)
    cont = inputs[1] if known > 1 else None
    if cont is not None:
        check_cont(x, cont)
    static = flattened(graph, inputs[2], 1) if known > 2 else None
    expected: Shape = (1, x.shape[1], parameter.num_output)
    for state in inputs[known:]:
        if state.rank != 3 or state.shape[2] != expected[2]:
            raise LayerError(f"expected a state of shape {text(expected)}, found "
                             f"{text(state.shape)}")  # fmt: skip
    return Steps(x, cont, static, tuple(inputs[known:]))


def flattened(graph: GraphBuilder, x: Value, axis: int) -> Value:
    """Join the axes of x from `axis` on."""
    if x.rank < axis + 1:
        raise LayerError(f"expected a bottom of at least {axis + 1} axes, found {text(x.shape)}")
    size = math.prod(x.static(index) for index in range(axis, x.rank))
    if x.rank == axis + 1:
        return x
    target = graph.constant(np.array([0] * axis + [size], np.int64), f"{x.name}/flat")
    return graph.node("Reshape", [x, target], (*x.shape[:axis], size))


def check_cont(x: Value, cont: Value) -> None:
    """Raise LayerError unless cont has a number for each vector of x."""
    if cont.rank != 2 or _differ(cont.shape[0], x.shape[0]):
        raise LayerError(f"expected cont of shape {text(x.shape[:2])}, found {text(cont.shape)}")


def transformed(
    layer: Layer, graph: GraphBuilder, steps: Steps, weight: F32, bias: F32, static: F32 | None
) -> Value:
    """Weight · x + bias (+ static weight · static input) of all steps, [time, batch, outputs]."""
    shape: Shape = (*steps.x.shape[:2], len(weight))
    constant = graph.constant(weight.T, f"{layer.name}/input_weight")
    product = graph.node("MatMul", [steps.x, constant], shape)
    product = graph.node("Add", [product, graph.constant(bias, f"{layer.name}/bias")], shape)
    if static is None or steps.static is None:
        return product
    constant = graph.constant(static.T, f"{layer.name}/static_weight")
    same = graph.node("MatMul", [steps.static, constant], (steps.x.shape[1], len(static)))
    return graph.node("Add", [product, same], shape)


def scan(
    layer: Layer,
    graph: GraphBuilder,
    steps: Steps,
    gates: Value,
    body: Sequence[NodeProto],
    constants: Mapping[str, Array],
    states: Sequence[str],
    outputs: int,
    name: str | None = None,
) -> list[Value]:
    """Run a step for each vector. Returns the last states and all values of the first state.

    `body` reads each of `states`, x and cont [batch, 1] by name, and makes next_STATE. Its names
    are prefixed with the layer's name, because names in a model must be unique.
    """
    batch = steps.x.shape[1]
    begun = [_first(graph, state) for state in steps.states] or [
        _nothing(layer, graph, steps, outputs)
    ] * len(states)
    if steps.cont is None:
        cont = graph.constant(np.ones((1, 1, 1), np.float32), f"{layer.name}/going_on")
        cont = graph.node("Expand", [cont, _lengths(graph, steps.x)], (*steps.x.shape[:2], 1))
    else:
        axes = graph.constant(np.array([2], np.int64), f"{layer.name}/axes")
        cont = graph.node("Unsqueeze", [steps.cont, axes], (*steps.cont.shape, 1))
    state: Shape = (batch, outputs)
    return graph.node_with_outputs(
        "Scan",
        [*begun, gates, cont],
        [*[state] * len(states), (steps.x.shape[0], *state)],
        names=[*[None] * len(states), name],
        body=_step(layer.name, body, constants, states),
        num_scan_inputs=2,
    )


def _step(
    prefix: str, body: Sequence[NodeProto], constants: Mapping[str, Array], states: Sequence[str]
) -> GraphProto:
    def own(name: str) -> str:
        return f"{prefix}/step/{name}"

    nodes = [
        helper.make_node(node.op_type, list(map(own, node.input)), list(map(own, node.output)),
                         **{item.name: helper.get_attribute_value(item) for item in node.attribute})
        for node in body
    ]  # fmt: skip
    nodes.append(helper.make_node("Identity", [own(f"next_{states[0]}")], [own("shown")]))
    return helper.make_graph(
        nodes,
        f"{prefix}/step",
        [_info(own(name)) for name in (*states, "x", "cont")],
        [*(_info(own(f"next_{name}")) for name in states), _info(own("shown"))],
        [numpy_helper.from_array(np.asarray(array, np.float32), own(name))
         for name, array in constants.items()],
    )  # fmt: skip


def _info(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _lengths(graph: GraphBuilder, x: Value) -> Value:
    """The sizes [time, batch, 1] as a value."""
    shape = graph.node("Shape", [x], (2,), dtype=np.int64, end=2)
    one = graph.constant(np.array([1], np.int64), f"{x.name}/one")
    return graph.node("Concat", [shape, one], (3,), dtype=np.int64, axis=0)


def _nothing(layer: Layer, graph: GraphBuilder, steps: Steps, outputs: int) -> Value:
    """A state of zeros, [batch, outputs]."""
    batch = graph.node("Shape", [steps.x], (1,), dtype=np.int64, start=1, end=2)
    count = graph.constant(np.array([outputs], np.int64), f"{layer.name}/outputs")
    shape = graph.node("Concat", [batch, count], (2,), dtype=np.int64, axis=0)
    zero = graph.constant(np.zeros((1, 1), np.float32), f"{layer.name}/zero")
    return graph.node("Expand", [zero, shape], (steps.x.shape[1], outputs))


def _first(graph: GraphBuilder, state: Value) -> Value:
    """A state [1, batch, outputs] without its first axis."""
    axes = graph.constant(np.array([0], np.int64), f"{state.name}/axes")
    return graph.node("Squeeze", [state, axes], state.shape[1:])


def shown(graph: GraphBuilder, state: Value, name: str) -> Value:
    """A state [batch, outputs] as the top for expose_hidden."""
    axes = graph.constant(np.array([0], np.int64), f"{name}/axes")
    return graph.node("Unsqueeze", [state, axes], (1, *state.shape), name=name)


def _differ(left: int | str, right: int | str) -> bool:
    """Whether two sizes are both known and differ."""
    return isinstance(left, int) and isinstance(right, int) and left != right
