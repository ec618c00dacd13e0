"""Filter, BatchReindex, Nms and Im2col: refused, with the reason."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler

REASONS = {
    "BatchReindex": "it takes images of the batch by their numbers",
    "Filter": "it drops images from the batch",
    "Nms": "its list of peaks has as many entries as a program tells it; end the network before it",
    "Im2col": "nothing but Caffe's own convolution needs its columns; end the network before it",
}


@handler(*REASONS, bottoms=(1, None), tops=(0, None), refuses=True)
def refused(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """What would mix images or has no standard operator: can't be converted.

    Caffe: src/caffe/layers/filter_layer.cpp, batch_reindex_layer.cpp, im2col_layer.cpp; OpenPose:
    nms_layer.cpp.
    """
    raise LayerError(f"layers of type {layer.type} can't be converted: {REASONS[layer.type]}")
