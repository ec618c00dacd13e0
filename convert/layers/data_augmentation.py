"""DataAugmentation."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.affine import affine
from convert.layers.blobs import check_blobs, image_size
from convert.layers.registry import LayerError, handler
from geometry.arrays import F64


@handler("DataAugmentation", weights=True)
def data_augmentation(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The images minus a mean; without a crop, nothing else happens outside training.

    With `recompute_mean` the mean is stored: the blobs are the number of batches it was computed
    from, the mean of each pixel, and that of each channel. Else it is `mean`, if that has three
    numbers and `mean_per_pixel` is false. Caffe, FlowNet 2: src/caffe/layers/
    data_augmentation_layer.cpp and .cu.
    """
    (x,) = inputs
    parameter = layer.parameter.augmentation_param
    size = image_size(x)
    channels = x.static(1)
    if parameter.crop_width or parameter.crop_height:
        raise LayerError(
            "a crop moves the pixels at the edges by fractions of a pixel; remove crop_width and "
            "crop_height, and give the network images of that size"
        )
    if parameter.recompute_mean:
        mean = _stored(layer, channels, size)
    else:
        if layer.blobs:
            check_blobs(layer, [(1,)])
        given = list(parameter.mean) if len(parameter.mean) == 3 else []
        if not given or parameter.mean_per_pixel:
            return graph.node("Identity", [x], x.shape, name=layer.tops[0])
        if channels != 3:
            raise LayerError(f"mean has 3 numbers, but the bottom has {channels} channels")
        mean = np.asarray(given, np.float64)
    if mean.ndim == 1:
        ones = np.ones(channels)
        return affine(graph, x, layer.tops[0], layer.name, 1, scale=ones, shift=-mean)
    constant = graph.constant(mean.astype(np.float32), f"{layer.name}/mean")
    return graph.node("Sub", [x, constant], x.shape, name=layer.tops[0])


def _stored(layer: Layer, channels: int, size: tuple[int, int]) -> F64:
    """The mean of each channel [C], or of each pixel [C, height, width], that training stored.

    Of a mean of each pixel with another size, Caffe takes the mean of each channel.
    """
    parameter = layer.parameter.augmentation_param
    image = layer.blobs[1].shape if len(layer.blobs) > 1 else ()
    own = image if len(image) == 4 else (1, channels, *size)
    check_blobs(layer, [(1,), (1, channels, *own[2:]), (channels, 1, 1)])
    batches = float(layer.blobs[0].reshape(-1)[0])
    if batches < parameter.recompute_mean:
        raise LayerError(
            f"the stored mean is of {batches:g} batches, and up to {parameter.recompute_mean} "
            "(recompute_mean) Caffe would go on computing it from the images that it is given; "
            "set recompute_mean to the number of batches"
        )
    pixels, means = (blob.astype(np.float64) for blob in layer.blobs[1:])
    if not parameter.mean_per_pixel:
        return means.reshape(-1)
    pixels = pixels.reshape(own[1:])
    return pixels if pixels.shape[1:] == size else pixels.mean(axis=(1, 2))
