"""DummyData."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import data_layers
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import text
from convert.layers.registry import LayerError, handler

MOST_ELEMENTS = 1 << 26
"""The most elements of a top: more would make a file of hundreds of megabytes."""


@handler("DummyData", bottoms=0, tops=(1, None))
def dummy_data(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """Constants: tops of a stated shape, filled with one value each (0 by default).

    If such a top is combined with a blob that has a batch, its first size is that batch as the
    prototxt states it. Caffe: src/caffe/layers/dummy_data_layer.cpp.
    """
    parameter = layer.parameter.dummy_data_param
    shapes = data_layers.dummy_shapes(layer.parameter)
    if not shapes:
        raise LayerError(f"expected one shape or {len(layer.tops)}, one for each top")
    fillers = list(parameter.data_filler)
    if len(fillers) not in (0, 1, len(layer.tops)):
        raise LayerError(f"expected one data_filler or {len(layer.tops)}, found {len(fillers)}")
    if not data_layers.is_constant(layer.parameter):
        kinds = ", ".join(sorted({filler.type for filler in fillers} - {"constant"}))
        raise LayerError(
            f"data_filler of type {kinds} gives different numbers in each run; use type constant, "
            "or make the top an Input"
        )
    values = [filler.value for filler in fillers] or [0.0]
    if len(values) == 1:
        values *= len(layer.tops)
    tops: list[Value] = []
    for top, shape, value in zip(layer.tops, shapes, values, strict=True):
        if min(shape, default=1) < 1 or math.prod(shape) > MOST_ELEMENTS:
            raise LayerError(f"top {top} can't have the shape {text(shape)}; state a usable one")
        content = np.full(shape, value, np.float32)
        tops.append(graph.constant(content, top, exact_name=True))
    return tops
