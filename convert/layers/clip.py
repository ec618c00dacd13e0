"""Clip."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler


@handler("Clip")
def clip(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """min(max(x, `min`), `max`).

    Caffe: src/caffe/layers/clip_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.clip_param
    if not (parameter.HasField("min") and parameter.HasField("max")):
        raise LayerError("clip_param needs min and max: state both")
    if parameter.min > parameter.max:
        raise LayerError(f"min {parameter.min:g} is above max {parameter.max:g}")
    low = graph.constant(parameter.min, f"{layer.name}/low")
    high = graph.constant(parameter.max, f"{layer.name}/high")
    return graph.node("Clip", [x, low, high], x.shape, name=layer.tops[0])
