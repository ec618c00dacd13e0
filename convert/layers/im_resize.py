"""ImResize."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size
from convert.layers.interp import resize
from convert.layers.registry import LayerError, handler

LARGEST_FACTOR = 1000


@handler("ImResize")
def im_resize(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Bicubic resizing (a = −0.5) by `factor`, or to a target size.

    Output pixel x lies at (x + 0.5) · in / out − 0.5, and the pixels of the edge repeat beyond it.
    This is what OpenPose's CUDA code computes; its CPU code has a = −0.75. OpenPose averages the
    images of a batch, which are scales of one image. Here each image is resized by itself.
    OpenPose's Caffe: src/caffe/layers/imresize_layer.cpp and imresize_layer.cu.
    """
    (x,) = inputs
    parameter = layer.parameter.imresize_param
    height, width = image_size(x)
    if not 0 <= parameter.factor <= LARGEST_FACTOR:  # also refuses NaN
        raise LayerError(f"factor is {parameter.factor:g}; expected up to {LARGEST_FACTOR}")
    if parameter.factor:
        size = int(height * parameter.factor), int(width * parameter.factor)
    else:
        size = parameter.target_spatial_height, parameter.target_spatial_width
    if min(size) < 1:
        raise LayerError(
            "the prototxt doesn't state the size: state factor, or target_spatial_height and "
            "target_spatial_width"
        )
    return resize(
        graph,
        x,
        size,
        layer.tops[0],
        mode="cubic",
        cubic_coeff_a=-0.5,
        coordinate_transformation_mode="half_pixel",
    )
