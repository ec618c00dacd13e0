"""RNN."""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, helper

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers import recurrent
from convert.layers.blobs import check_blobs
from convert.layers.recurrent import Steps
from convert.layers.registry import handler
from geometry.arrays import F32


@handler("RNN", bottoms=(1, 4), tops=(1, 2), weights=True)
def rnn(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """States h = tanh(W·x + b + U·h), and tanh(V·h + c) as the top, of x [time, batch, ...].

    The blobs are W, b, U, V, c (W, b, the static input's weight, U, V, c). The second bottom, cont,
    is 0 where a sequence begins: h is 0 there. Each run starts from zeros, or with expose_hidden
    from the given h. Caffe: src/caffe/layers/rnn_layer.cpp.
    """
    steps = recurrent.read(layer, graph, inputs, 1)
    count = layer.parameter.recurrent_param.num_output
    static = [] if steps.static is None else [(count, steps.static.static(1))]
    square = (count, count)
    check_blobs(layer, [(count, steps.x.static(2)), (count,), *static, square, square, (count,)])
    weight, bias, *static_weight, hidden, out, out_bias = layer.blobs
    weight, bias = weight.reshape(count, -1), bias.reshape(-1)
    hidden, out = hidden.reshape(square), out.reshape(square)
    if steps.whole:
        states = _sequence(layer, graph, steps, weight, hidden, bias)
        last: list[Value] = []
    else:
        static_blob = static_weight[0].reshape(count, -1) if static_weight else None
        gates = recurrent.transformed(layer, graph, steps, weight, bias, static_blob)
        *last, states = recurrent.scan(
            layer, graph, steps, gates, _step(), {"weight": hidden.T}, ["h"], count
        )
    shape = (*steps.x.shape[:2], count)
    constant = graph.constant(out.T, f"{layer.name}/output_weight")
    product = graph.node("MatMul", [states, constant], shape)
    shift = graph.constant(out_bias.reshape(-1), f"{layer.name}/output_bias")
    result = graph.node("Add", [product, shift], shape)
    top = graph.node("Tanh", [result], shape, name=layer.tops[0])
    names = layer.tops[1:]
    return [top, *(recurrent.shown(graph, last[0], name) for name in names)]


def _sequence(
    layer: Layer, graph: GraphBuilder, steps: Steps, weight: F32, hidden: F32, bias: F32
) -> Value:
    """All states by ONNX's RNN, [time, batch, outputs]."""
    constants = recurrent.weights(layer, graph, weight, hidden, bias)
    time, batch = steps.x.shape[:2]
    count = len(bias)
    found = graph.node("RNN", [steps.x, *constants], (time, 1, batch, count), hidden_size=count)
    axes = graph.constant(np.array([1], np.int64), f"{layer.name}/direction")
    return graph.node("Squeeze", [found, axes], (time, batch, count))


def _step() -> list[NodeProto]:
    """One step: x is W·x + b."""
    return [
        helper.make_node("Mul", ["h", "cont"], ["kept_h"]),
        helper.make_node("MatMul", ["kept_h", "weight"], ["of_h"]),
        helper.make_node("Add", ["x", "of_h"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next_h"]),
    ]
