"""LSTM and Lstm."""

import math
from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper

from convert.caffe.network import Layer
from convert.graph import BATCH, Dim, GraphBuilder, Value
from convert.layers import recurrent
from convert.layers.blobs import check_blobs, text
from convert.layers.recurrent import Steps
from convert.layers.registry import LayerError, handler
from geometry.arrays import F32

GATES = 4
STATES = ("h", "c")


@handler("LSTM", bottoms=(1, 5), tops=(1, 3), weights=True)
def lstm(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """Long short-term memory: c = f·c + i·g, h = o·tanh(c), of x [time, batch, ...].

    i, f and o are sigmoids and g is a tanh of W·x + b + U·h, in this order in each blob. The blobs
    are W, b, U (or W, b, the static input's weight, U). The second bottom, cont, is 0 where a
    sequence begins: h and c are 0 there. Each run starts from zeros, or with expose_hidden from the
    given h and c. Caffe: src/caffe/layers/lstm_layer.cpp, lstm_unit_layer.cpp.
    """
    steps = recurrent.read(layer, graph, inputs, 2)
    outputs = layer.parameter.recurrent_param.num_output
    count = GATES * outputs
    static = [] if steps.static is None else [(count, steps.static.static(1))]
    check_blobs(layer, [(count, steps.x.static(2)), (count,), *static, (count, outputs)])
    weight, bias, *static_weight, hidden = layer.blobs
    weight, hidden = weight.reshape(count, -1), hidden.reshape(count, -1)
    bias = bias.reshape(-1)
    if steps.whole:
        return [_sequence(layer, graph, steps, (weight, hidden, bias), layer.tops[0])]
    static_blob = static_weight[0].reshape(count, -1) if static_weight else None
    gates = recurrent.transformed(layer, graph, steps, weight, bias, static_blob)
    last_h, last_c, top = recurrent.scan(
        layer, graph, steps, gates, _step(), {"weight": hidden.T}, STATES, outputs, layer.tops[0]
    )
    if len(layer.tops) == 1:
        return [top]
    states = zip((last_h, last_c), layer.tops[1:], strict=True)
    return [top, *(recurrent.shown(graph, state, name) for state, name in states)]


@handler("Lstm", bottoms=(1, 2), weights=True)
def lstm_of_rows(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """LSTM's formula over rows [time · batch_size, ...], one row for each sequence and step.

    The blobs are W, U and b. A second bottom, clip [time], is 0 where the sequence begins. In the
    Caffe of CTPN the bottom is [time, rows, ...] without a batch_size, and so is the top.
    Caffe, junhyukoh's and tianzhi0549's (CTPN): src/caffe/layers/lstm_layer.cpp. Its first version
    has no batch_size and takes num_output from inner_product_param.
    """
    x = inputs[0]
    parameter, old = layer.parameter.lstm_param, layer.parameter.inner_product_param
    outputs = parameter.num_output or old.num_output
    batch = parameter.batch_size
    if outputs < 1:
        raise LayerError("num_output is missing; state how many outputs the layer makes")
    if batch < 1:
        raise LayerError("batch_size must be at least 1")
    count = GATES * outputs
    apart = _has_rows_apart(layer, x, count)
    x = recurrent.flattened(graph, x, 2) if apart else _by_step(layer, graph, x, batch)
    inputs_count = x.static(2)
    shapes = [(count, inputs_count), (count, outputs), (count,)][: 3 if old.bias_term else 2]
    check_blobs(layer, [_as_written(layer, index, shape) for index, shape in enumerate(shapes)])
    blobs = [blob.reshape(shape) for blob, shape in zip(layer.blobs, shapes, strict=True)]
    weight, hidden = blobs[:2]
    bias = blobs[2] if len(blobs) > 2 else np.zeros(count, np.float32)
    clip = _clip(layer, graph, x, inputs[1]) if len(inputs) > 1 else None
    steps = Steps(x, clip, None, ())
    if steps.whole:
        name = layer.tops[0] if apart else None
        found = _sequence(layer, graph, steps, (weight, hidden, bias), name)
    else:
        gates = recurrent.transformed(layer, graph, steps, weight, bias, None)
        *_, found = recurrent.scan(
            layer, graph, steps, gates, _step(), {"weight": hidden.T}, STATES, outputs
        )
    if apart:
        return found
    rows: Dim = _product(x.shape[0], x.shape[1])
    target = graph.constant(np.array([-1, outputs], np.int64), f"{layer.name}/rows")
    return graph.node("Reshape", [found, target], (rows, outputs), name=layer.tops[0])


def _sequence(
    layer: Layer,
    graph: GraphBuilder,
    steps: Steps,
    blobs: tuple[F32, F32, F32],
    name: str | None,
) -> Value:
    """The whole sequence by ONNX's LSTM, [time, batch, outputs]."""
    weight, hidden, bias = map(_onnx_order, blobs)
    outputs = len(bias) // GATES
    constants = recurrent.weights(layer, graph, weight, hidden, bias)
    time, batch = steps.x.shape[:2]
    found = graph.node(
        "LSTM", [steps.x, *constants], (time, 1, batch, outputs), hidden_size=outputs
    )
    axes = graph.constant(np.array([1], np.int64), f"{layer.name}/direction")
    return graph.node("Squeeze", [found, axes], (time, batch, outputs), name=name)


def _onnx_order(blob: F32) -> F32:
    """Rows of i, f, o, g in ONNX's order: i, o, f, g."""
    i, f, o, g = np.split(blob, GATES)
    return np.concatenate([i, o, f, g])


def _step() -> list[NodeProto]:
    """One step; x holds the gates without the part of h."""
    node = helper.make_node
    return [
        node("Mul", ["h", "cont"], ["kept_h"]),
        node("MatMul", ["kept_h", "weight"], ["of_h"]),
        node("Add", ["x", "of_h"], ["gates"]),
        node("Split", ["gates"], ["to_i", "to_f", "to_o", "to_g"], axis=1),
        node("Sigmoid", ["to_i"], ["i"]),
        node("Sigmoid", ["to_f"], ["f"]),
        node("Sigmoid", ["to_o"], ["o"]),
        node("Tanh", ["to_g"], ["g"]),
        node("Mul", ["f", "cont"], ["kept_f"]),
        node("Mul", ["kept_f", "c"], ["old"]),
        node("Mul", ["i", "g"], ["new"]),
        node("Add", ["old", "new"], ["next_c"]),
        node("Tanh", ["next_c"], ["squashed"]),
        node("Mul", ["o", "squashed"], ["next_h"]),
    ]


def _has_rows_apart(layer: Layer, x: Value, count: int) -> bool:
    """Whether the bottom is CTPN's [time, rows, ...], which the weights tell, if there are any."""
    if layer.parameter.lstm_param.HasField("batch_size"):
        return False
    if x.rank < 3 or x.shape[1] in (1, BATCH):
        return False
    if not layer.blobs:
        return x.rank == 3
    return layer.blobs[0].size == count * math.prod(x.static(axis) for axis in range(2, x.rank))


def _by_step(layer: Layer, graph: GraphBuilder, x: Value, batch: int) -> Value:
    """Rows as [time, batch, inputs]; a bottom [time, batch, ...] already is."""
    if batch == 1 and x.rank > 2 and x.shape[1] in (1, BATCH):
        return recurrent.flattened(graph, x, 2)
    x = recurrent.flattened(graph, x, 1)
    rows, inputs = x.shape[0], x.static(1)
    if isinstance(rows, int) and rows % batch:
        raise LayerError(f"batch_size is {batch}, which must divide the rows of {text(x.shape)}")
    time: Dim = (
        rows // batch if isinstance(rows, int) else rows if batch == 1 else f"{rows}/{batch}"
    )
    target = graph.constant(np.array([-1, batch, inputs], np.int64), f"{layer.name}/steps")
    return graph.node("Reshape", [x, target], (time, batch, inputs))


def _clip(layer: Layer, graph: GraphBuilder, x: Value, clip: Value) -> Value:
    """The second bottom as cont [time, 1]: 0 where it is 0, else 1."""
    if x.shape[1] not in (1, BATCH):
        raise LayerError(
            f"the bottom has {x.shape[1]} sequences, for which Caffe's layer reads clip at the "
            "wrong offset; leave clip out to begin every sequence at the first step"
        )
    if any(dim != 1 for dim in clip.shape[1:]) or clip.rank == 0:
        raise LayerError(f"expected clip of shape {text(x.shape[:1])}, found {text(clip.shape)}")
    target = graph.constant(np.array([-1, 1], np.int64), f"{layer.name}/clip")
    shape = (clip.shape[0], 1)
    clip = graph.node("Reshape", [clip, target], shape)
    recurrent.check_cont(x, clip)
    begins = graph.node("Cast", [clip], shape, dtype=np.bool_, to=TensorProto.BOOL)
    return graph.node("Cast", [begins], shape, to=TensorProto.FLOAT)


def _as_written(layer: Layer, index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A blob's shape; the layer's first version gave the gates an axis of their own."""
    apart = (GATES, shape[0] // GATES, *shape[1:])
    apart = (1,) * (4 - len(apart)) + apart
    found = layer.blobs[index].shape if index < len(layer.blobs) else shape
    return apart if found == apart else shape


def _product(time: Dim, batch: Dim) -> Dim:
    if isinstance(time, int) and isinstance(batch, int):
        return time * batch
    if 1 in (time, batch):
        return batch if time == 1 else time
    return f"{time}*{batch}"
