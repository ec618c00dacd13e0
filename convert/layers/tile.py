"""Tile."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import canonical_axis
from convert.layers.registry import LayerError, handler


@handler("Tile")
def tile(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The bottom repeated `tiles` times along `axis`.

    Caffe: src/caffe/layers/tile_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.tile_param
    axis = canonical_axis(parameter.axis, x.rank)
    if parameter.tiles < 1:
        raise LayerError("tiles is missing; state how often to repeat the bottom")
    shape = (*x.shape[:axis], x.static(axis) * parameter.tiles, *x.shape[axis + 1 :])
    counts = [parameter.tiles if position == axis else 1 for position in range(x.rank)]
    repeats = graph.constant(np.array(counts, np.int64), f"{layer.name}/repeats")
    return graph.node("Tile", [x, repeats], shape, name=layer.tops[0])
