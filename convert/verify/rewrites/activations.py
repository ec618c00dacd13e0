"""Activations as OpenCV reads them right."""

import math

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.rewrites.piece import Piece, Shapes, power


def relu(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores `relu6`."""
    if message.relu_param.relu6:
        message.ClearField("relu_param")
        message.type = "ReLU6"
    return [Piece(message)]


def prelu(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV can't read a slope without an axis."""
    if layer.blobs and layer.blobs[0].ndim == 0:
        return [Piece(message, (layer.blobs[0].reshape(1),))]
    return [Piece(message)]


def swish(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores beta.

    x · sigmoid(beta · x) is swish(beta · x) / beta.
    """
    beta = message.swish_param.beta
    message.ClearField("swish_param")
    if beta in (0, 1):
        name, bottom, top = f"{layer.name}/half", layer.bottoms[0], layer.tops[0]
        return [Piece(message)] if beta else [power(name, bottom, top, scale=0.5)]
    (bottom,), (top,) = layer.bottoms, layer.tops
    before, after = f"{top}/scaled", f"{top}/swish"
    message.bottom[:], message.top[:] = [before], [after]
    return [
        power(f"{layer.name}/beta", bottom, before, scale=beta),
        Piece(message),
        power(f"{layer.name}/unscaled", after, top, scale=1 / beta),
    ]


def log(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV's Log has no parameters: Power layers before and after it do their work."""
    log = message.log_param
    (bottom,), (top,) = layer.bottoms, layer.tops
    before, after = f"{top}/shifted", f"{top}/log"
    first = power(f"{layer.name}/shift", bottom, before, scale=log.scale, shift=log.shift)
    base = 1.0 if log.base == -1 else math.log(log.base)
    message.ClearField("log_param")
    message.bottom[:], message.top[:] = [before], [after]
    return [first, Piece(message), power(f"{layer.name}/base", after, top, scale=1 / base)]


def dropout(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores `scale_train: false`, which scales down instead of up in training."""
    dropout = message.dropout_param
    if dropout.scale_train:
        return [Piece(message)]
    share = 1 - dropout.dropout_ratio
    return [power(layer.name, layer.bottoms[0], layer.tops[0], scale=share)]
