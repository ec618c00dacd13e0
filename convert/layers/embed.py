"""Embed."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import check_blobs
from convert.layers.registry import LayerError, handler


@handler("Embed", weights=True)
def embed(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The row of the weights that each number names, plus bias: words as vectors.

    The numbers are whole, from 0 to input_dim − 1. Caffe: src/caffe/layers/embed_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.embed_param
    words, outputs = parameter.input_dim, parameter.num_output
    if min(words, outputs) < 1:
        raise LayerError("input_dim and num_output must be stated; they are at least 1")
    check_blobs(layer, [(words, outputs)] + [(outputs,)] * parameter.bias_term)
    table = layer.blobs[0].reshape(words, outputs)
    if parameter.bias_term:
        table = table + layer.blobs[1].reshape(-1)
    rows = graph.constant(table, f"{layer.name}/words")
    numbers = graph.node("Cast", [x], x.shape, dtype=np.int64, to=7)
    return graph.node("Gather", [rows, numbers], (*x.shape, outputs), name=layer.tops[0])
