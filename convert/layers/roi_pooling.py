"""ROIPooling."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size
from convert.layers.registry import LayerError, handler
from convert.layers.roi import regions


@handler("ROIPooling", bottoms=2)
def roi_pooling(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The maximum of each of pooled_h × pooled_w parts of each region; 0 where a part is empty.

    A region's corners are scaled and rounded; a part of it reaches from ⌊i · size / pooled⌋ to
    ⌈(i + 1) · size / pooled⌉. Caffe, Fast R-CNN: src/caffe/layers/roi_pooling_layer.cpp.
    """
    x, rois = inputs
    parameter = layer.parameter.roi_pooling_param
    image_size(x)
    pooled = (parameter.pooled_h, parameter.pooled_w)
    if min(pooled) < 1:
        raise LayerError("pooled_h and pooled_w must be at least 1")
    if parameter.pad_ratio:
        raise LayerError(
            "pad_ratio enlarges the regions as MS-CNN does, which can't be converted; leave it out "
            "or enlarge the rois before the layer"
        )
    rois = regions(graph, rois)
    shape = (rois.shape[0], x.static(1), *pooled)
    return graph.node(
        "MaxRoiPool",
        [x, rois],
        shape,
        name=layer.tops[0],
        pooled_shape=pooled,
        spatial_scale=parameter.spatial_scale,
    )
