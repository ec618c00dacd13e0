"""CTCGreedyDecoder."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from convert.caffe.network import Layer
from convert.graph import Dim, GraphBuilder, Shape, Value
from convert.layers.blobs import text
from convert.layers.registry import LayerError, handler


@handler("CTCGreedyDecoder", bottoms=(2, 3), tops=(1, 2))
def ctc_greedy_decoder(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """The best class of each step, without blanks and repeats; −1 fills the rest.

    The top is [batch, steps, 1, 1]. Bottoms are scores [steps, batch, classes] and indicators
    [steps, batch]: a sequence ends before the first 0 after its first step. A second top is minus
    the sum of the best scores. The blank is `blank_index`, or the last class. Forks, Intel's and
    weinman's: src/caffe/layers/ctc_decoder_layer.cpp.
    """
    if len(inputs) == 3:
        raise LayerError("the third bottom, the targets, serves training only; leave it out")
    scores, indicators = inputs
    if (
        scores.rank != 3
        or indicators.rank < 2
        or indicators.shape[0] != scores.shape[0]
        or indicators.shape[1] not in (1, scores.shape[1])
        or any(dim != 1 for dim in indicators.shape[2:])
    ):
        raise LayerError(
            "expected scores of shape [steps, batch, classes] and indicators of shape [steps, "
            f"batch], found {text(scores.shape)} and {text(indicators.shape)}"
        )
    own = layer.parameter.HasField("ctc_greedy_decoder_param")
    parameter = (
        layer.parameter.ctc_greedy_decoder_param if own else layer.parameter.ctc_decoder_param
    )
    steps, batch = scores.shape[:2]
    blank = parameter.blank_index if parameter.blank_index >= 0 else scores.static(2) - 1
    flat: Shape = (batch, steps)
    best = graph.node("ArgMax", [scores], (steps, batch), dtype=np.int64, axis=2, keepdims=0)
    best = graph.node("Transpose", [best], flat, dtype=np.int64, perm=(1, 0))
    runs = _running(layer, graph, indicators)
    none = graph.constant(np.int64(-1), f"{layer.name}/none")
    blank_value = graph.constant(np.int64(blank), f"{layer.name}/blank")
    dropped = graph.node("Equal", [best, blank_value], flat, dtype=np.bool_)
    if parameter.ctc_merge_repeated:
        before = _shifted(layer, graph, best, none)
        repeated = graph.node("Equal", [best, before], flat, dtype=np.bool_)
        dropped = graph.node("Or", [dropped, repeated], flat, dtype=np.bool_)
    kept = graph.node("Not", [dropped], flat, dtype=np.bool_)
    kept = graph.node("And", [kept, runs], flat, dtype=np.bool_)
    top = _packed(layer, graph, best, kept, none)
    if len(layer.tops) == 1:
        return [top]
    highest = graph.node("ReduceMax", [scores], (steps, batch), axes=[2], keepdims=0)
    highest = graph.node("Transpose", [highest], flat, perm=(1, 0))
    zero = graph.constant(np.float32(0), f"{layer.name}/zero")
    highest = graph.node("Where", [runs, highest, zero], flat)
    axes = graph.constant(np.array([1], np.int64), f"{layer.name}/steps")
    total = graph.node("ReduceSum", [highest, axes], (batch, 1), keepdims=1)
    shape = graph.constant(np.array([0, 1, 1, 1], np.int64), f"{layer.name}/scores")
    total = graph.node("Reshape", [total, shape], (batch, 1, 1, 1))
    return [top, graph.node("Neg", [total], (batch, 1, 1, 1), name=layer.tops[1])]


def _running(layer: Layer, graph: GraphBuilder, indicators: Value) -> Value:
    """Whether the sequence has not ended yet, [batch, steps]; the first indicator is ignored.

    If the prototxt has a batch of 1, the indicators of one sequence apply to all sequences.
    """
    shape: Shape = indicators.shape[1::-1]
    if indicators.rank > 2:
        target = graph.constant(np.array([0, 0], np.int64), f"{layer.name}/flat")
        indicators = graph.node("Reshape", [indicators, target], indicators.shape[:2])
    zero = graph.constant(np.float32(0), f"{layer.name}/end")
    ends = graph.node("Equal", [indicators, zero], indicators.shape, dtype=np.bool_)
    ends = graph.node("Cast", [ends], indicators.shape, dtype=np.int64, to=TensorProto.INT64)
    ends = graph.node("Transpose", [ends], shape, dtype=np.int64, perm=(1, 0))
    # The first step always counts: its place is filled with 0.
    later = _slice(
        layer, graph, ends, 1, np.iinfo(np.int64).max, (shape[0], _changed(shape[1], -1))
    )
    no = graph.constant(np.int64(0), f"{layer.name}/no")
    front = graph.constant(np.array([0, 1, 0, 0], np.int64), f"{layer.name}/front")
    ends = graph.node("Pad", [later, front, no], shape, dtype=np.int64)
    axis = graph.constant(np.int64(1), f"{layer.name}/axis")
    past = graph.node("CumSum", [ends, axis], shape, dtype=np.int64)
    return graph.node("Equal", [past, no], shape, dtype=np.bool_)


def _shifted(layer: Layer, graph: GraphBuilder, x: Value, fill: Value) -> Value:
    """The step before each step; `fill` before the first."""
    front = graph.constant(np.array([0, 1, 0, 0], np.int64), f"{layer.name}/front")
    padded = graph.node(
        "Pad", [x, front, fill], (x.shape[0], _changed(x.shape[1], 1)), dtype=np.int64
    )
    return _slice(layer, graph, padded, 0, -1, x.shape)


def _packed(layer: Layer, graph: GraphBuilder, best: Value, kept: Value, none: Value) -> Value:
    """The kept classes moved to the front, [batch, steps, 1, 1] as float32."""
    shape, batch = best.shape, best.shape[0]
    axis = graph.constant(np.int64(1), f"{layer.name}/axis")
    ones = graph.node("Cast", [kept], shape, dtype=np.int64, to=TensorProto.INT64)
    place = graph.node("CumSum", [ones, axis], shape, dtype=np.int64)
    place = graph.node("Add", [place, none], shape, dtype=np.int64)
    # Dropped classes go to an extra place after the last step, which is cut off.
    wide: Shape = (batch, _changed(shape[1], 1))
    back = graph.constant(np.array([0, 0, 0, 1], np.int64), f"{layer.name}/back")
    zero = graph.constant(np.int64(0), f"{layer.name}/nothing")
    blank = graph.node("Mul", [best, zero], shape, dtype=np.int64)
    blank = graph.node("Add", [blank, none], shape, dtype=np.int64)
    blank = graph.node("Pad", [blank, back, none], wide, dtype=np.int64)
    target = graph.node("Where", [kept, place, none], shape, dtype=np.int64)
    value = graph.node("Where", [kept, best, none], shape, dtype=np.int64)
    packed = graph.node("ScatterElements", [blank, target, value], wide, dtype=np.int64, axis=1)
    packed = _slice(layer, graph, packed, 0, -1, shape)
    packed = graph.node("Cast", [packed], shape, to=TensorProto.FLOAT)
    axes = graph.constant(np.array([2, 3], np.int64), f"{layer.name}/unit_axes")
    return graph.node("Unsqueeze", [packed, axes], (*shape, 1, 1), name=layer.tops[0])


def _slice(
    layer: Layer, graph: GraphBuilder, x: Value, start: int, end: int, shape: Shape
) -> Value:
    """Some steps of [batch, steps]."""
    bounds = [
        graph.constant(np.array([number], np.int64), f"{layer.name}/{kind}")
        for kind, number in (("start", start), ("end", end), ("axis", 1))
    ]
    return graph.node("Slice", [x, *bounds], shape, dtype=x.dtype)


def _changed(length: Dim, by: int) -> Dim:
    """A number of steps plus or minus one."""
    return length + by if isinstance(length, int) else f"{length}{by:+d}"
