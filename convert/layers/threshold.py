"""Threshold."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import handler


@handler("Threshold")
def threshold(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """1 if x is above the threshold, else 0.

    Caffe: src/caffe/layers/threshold_layer.cpp.
    """
    (x,) = inputs
    limit = np.float32(layer.parameter.threshold_param.threshold)
    constant = graph.constant(limit, f"{layer.name}/threshold")
    above = graph.node("Greater", [x, constant], x.shape, dtype=np.bool_)
    return graph.node("Cast", [above], x.shape, name=layer.tops[0], to=TensorProto.FLOAT)
