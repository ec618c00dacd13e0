"""DetectionOutput: decodes boxes, filters them and applies NMS."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import reshape
from convert.layers.registry import handler
from convert.outputs.decoding import decode_values, predictions
from convert.outputs.detection_output import read
from convert.outputs.suppression import ROWS, suppress


@handler("DetectionOutput", bottoms=(3, None))
def detection_output(layer: Layer, graph: GraphBuilder, bottoms: Sequence[Value]) -> Value:
    """Boxes decoded from loc and priors, kept by score, NMS for each class, and top k.

    The top is [1, 1, n, 7]: image, label, score, x1, y1, x2, y2 (`detection_output_layer.cpp` of
    SSD's Caffe). A fourth bottom, the image, only counts in forks with boxes in pixels.
    """
    detection = read(layer)
    found = decode_values(detection, graph, *predictions(bottoms))
    rows = suppress(detection, graph, found)
    return reshape(graph, rows, (1, 1, -1, 7), (1, 1, ROWS, 7), name=layer.tops[0])
