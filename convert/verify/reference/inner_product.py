"""InnerProduct, and Embed, which is one of unit vectors."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("InnerProduct")
def inner_product(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Σ weight[o, i] · x[i] + bias[o]; i counts all elements of the axes from `axis` on.

    With `transpose` the weights are stored as [i, o] (inner_product_layer.cpp).
    """
    (x,) = bottoms
    parameter = layer.parameter.inner_product_param
    rows = x.reshape(*x.shape[: parameter.axis % x.ndim], -1)
    weight = layer.blobs[0].astype(np.float64)
    if parameter.transpose:
        y = rows @ weight.reshape(rows.shape[-1], parameter.num_output)
    else:
        y = rows @ weight.reshape(parameter.num_output, rows.shape[-1]).T
    return y + layer.blobs[1].astype(np.float64).ravel() if parameter.bias_term else y


@formula("Embed")
def embed(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The row weight[x], plus bias, for each number x (embed_layer.cpp)."""
    (x,) = bottoms
    parameter = layer.parameter.embed_param
    rows = layer.blobs[0].astype(np.float64).reshape(parameter.input_dim, -1)
    y = rows[x.astype(np.int64)]
    return y + layer.blobs[1].astype(np.float64).ravel() if parameter.bias_term else y
