"""Layers that multiply, add or normalize, as OpenCV reads them right."""

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import Shape
from convert.verify.rewrites.piece import Piece, Shapes, apart, power


def scale(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV can't read a scale without an axis: a Power multiplies and adds.

    It merges a Scale into the convolution before it as if the axis were that of the channels, and
    does not count an axis from the end. A Permute that changes nothing keeps both apart.
    """
    scale = message.scale_param
    if len(layer.bottoms) != 1 or not layer.blobs:
        return [Piece(message)]
    if not scale.num_axes:
        factor, *shift = (float(blob.reshape(-1)[0]) for blob in layer.blobs)
        name, bottom, top = f"{layer.name}/power", layer.bottoms[0], layer.tops[0]
        return [power(name, bottom, top, scale=factor, shift=sum(shift))]
    return _on_its_axis(Piece(message), shapes[layer.bottoms[0]])


def _on_its_axis(piece: Piece, shape: Shape) -> list[Piece]:
    """A Scale layer that stays one, with an axis counted from the start."""
    message = piece.layer
    rank = len(shape)
    message.scale_param.axis %= rank
    if message.scale_param.axis == 1 and message.scale_param.num_axes == 1:
        return [piece]
    (bottom,) = message.bottom
    between = f"{message.name}/apart"
    message.bottom[:] = [between]
    return [apart(between, bottom, between, rank), piece]


def bias(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV lacks Bias: a Scale by ones adds the blob, an Eltwise a bottom of the same shape."""
    bias = message.bias_param
    if len(layer.bottoms) == 2:
        if shapes[layer.bottoms[0]] != shapes[layer.bottoms[1]]:
            return [Piece(message)]
        message.ClearField("bias_param")
        message.type = "Eltwise"
        return [Piece(message)]
    if not bias.num_axes and layer.blobs:
        shift = float(layer.blobs[0].reshape(-1)[0])
        return [power(f"{layer.name}/power", layer.bottoms[0], layer.tops[0], shift=shift)]
    message.type = "Scale"
    scale = message.scale_param
    scale.axis, scale.num_axes, scale.bias_term = bias.axis, bias.num_axes, True
    message.ClearField("bias_param")
    ones = tuple(np.ones_like(blob) for blob in layer.blobs)
    return _on_its_axis(Piece(message, ones + layer.blobs), shapes[layer.bottoms[0]])


def eltwise(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV refuses `coeff` beside a maximum, where Caffe ignores it."""
    eltwise = message.eltwise_param
    if eltwise.operation != caffe_pb2.EltwiseParameter.SUM:
        eltwise.ClearField("coeff")
    return [Piece(message)]


def batch_norm(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV reads NVIDIA Caffe's blobs in the order of version 0.16 alone."""
    blobs = layer.blobs if message.batch_norm_param.scale_bias else ()
    return [Piece(message, blobs)]


def axpy(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV multiplies the third bottom and adds the second, which is not SENet's order."""
    factor, x, y = layer.bottoms
    (top,) = layer.tops
    product = f"{top}/product"
    scale = caffe_pb2.LayerParameter(name=f"{layer.name}/scale", type="Scale", top=[product])
    scale.bottom.extend([x, factor])
    scale.scale_param.axis = 0
    total = caffe_pb2.LayerParameter(name=layer.name, type="Eltwise", top=[top])
    total.bottom.extend([product, y])
    return [Piece(scale), Piece(total)]


def inner_product(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores `transpose`: it gets the transposed weights."""
    product = message.inner_product_param
    if not product.transpose or not layer.blobs:
        return [Piece(message)]
    product.ClearField("transpose")
    weight = layer.blobs[0].reshape(-1, product.num_output)
    return [Piece(message, (np.ascontiguousarray(weight.T), *layer.blobs[1:]))]


def lrn(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores k, and has other defaults.

    x / (k + a · s) ^ beta is k ^ -beta · x / (1 + a / k · s) ^ beta.
    """
    lrn = message.lrn_param
    lrn.local_size, lrn.alpha, lrn.beta = lrn.local_size, lrn.alpha, lrn.beta
    k = lrn.k
    lrn.ClearField("k")
    within = lrn.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL
    if within or k == 1 or k <= 0:
        return [Piece(message)]
    (top,) = layer.tops
    inner = f"{top}/lrn"
    lrn.alpha = lrn.alpha / k
    message.top[:] = [inner]
    return [Piece(message), power(f"{layer.name}/k", inner, top, scale=k**-lrn.beta)]


def normalize(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV has other defaults, and lacks the first name, NormalizeBBox.

    It can't read a scale for each channel across_spatial: a Scale layer multiplies by it.
    """
    message.type = "Normalize"
    norm = message.norm_param
    norm.across_spatial, norm.channel_shared = norm.across_spatial, norm.channel_shared
    norm.eps = norm.eps
    if not norm.across_spatial or norm.channel_shared or not layer.blobs:
        return [Piece(message)]
    (top,) = layer.tops
    norm.channel_shared, message.top[:] = True, [f"{top}/unit"]
    scale = caffe_pb2.LayerParameter(
        name=f"{layer.name}/scale", type="Scale", bottom=[f"{top}/unit"], top=[top]
    )
    return [Piece(message, (np.ones(1, np.float32),)), Piece(scale, (layer.blobs[0].reshape(-1),))]
