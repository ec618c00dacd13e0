"""ROIAlign."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size
from convert.layers.registry import LayerError, handler
from convert.layers.roi import columns, regions


@handler("ROIAlign", bottoms=2)
def roi_align(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The mean of bilinear samples in each of pooled_h × pooled_w parts of each region.

    There are sampling_ratio² samples in a part, or ⌈size / pooled⌉ along each side where that is
    0. Corners are scaled and not rounded, and a side is at least 1; with `aligned` corners move by
    −0.5 and sides may be smaller. As Caffe2's RoIAlign; forks of Caffe with `roi_align_param`:
    src/caffe/layers/roi_align_layer.cpp.
    """
    x, rois = inputs
    if not layer.parameter.HasField("roi_align_param"):
        raise LayerError(
            "without roi_align_param, the meaning depends on the fork of Caffe (Cascade R-CNN "
            "samples at the corners of the parts, others take means or maxima); for the mean of "
            "Mask R-CNN, state roi_align_param { pooled_h "
            "pooled_w spatial_scale sampling_ratio }"
        )
    parameter = layer.parameter.roi_align_param
    image_size(x)
    if min(parameter.pooled_h, parameter.pooled_w) < 1:
        raise LayerError("pooled_h and pooled_w must be at least 1")
    if parameter.pad_ratio:
        raise LayerError("pad_ratio can't be converted; enlarge the rois before the layer")
    rois = regions(graph, rois)
    count = rois.shape[0]
    axes = graph.constant(np.array([1], np.int64), f"{layer.name}/axes")
    image = graph.node("Squeeze", [columns(graph, rois, 0, 1), axes], (count,))
    image = graph.node("Cast", [image], (count,), dtype=np.int64, to=TensorProto.INT64)
    return graph.node(
        "RoiAlign",
        [x, columns(graph, rois, 1, 4), image],
        (count, x.static(1), parameter.pooled_h, parameter.pooled_w),
        name=layer.tops[0],
        mode="avg",
        output_height=parameter.pooled_h,
        output_width=parameter.pooled_w,
        sampling_ratio=max(parameter.sampling_ratio, 0),
        spatial_scale=parameter.spatial_scale,
        coordinate_transformation_mode="half_pixel" if parameter.aligned else "output_half_pixel",
    )
