"""Filter, BatchReindex and Nms: refused, with the reason."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler

REASONS = {
    "BatchReindex": "it selects images of the batch by index",
    "Filter": "it drops images from the batch",
    "Nms": "a program sets the number of peaks; end the network before it",
}


@handler(*REASONS, bottoms=(1, None), tops=(0, None), refuses=True)
def refused(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Layers that mix images or have no standard operator: can't be converted.

    Caffe: src/caffe/layers/filter_layer.cpp, batch_reindex_layer.cpp;
    OpenPose: nms_layer.cpp.
    """
    raise LayerError(f"layers of type {layer.type} can't be converted: {REASONS[layer.type]}")
