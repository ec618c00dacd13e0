"""Region, YoloDetectionOutput and Yolov3DetectionOutput: refused, with what to do instead."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler


@handler(
    "Region",
    "YoloDetectionOutput",
    "Yolov3DetectionOutput",
    bottoms=(1, None),
    tops=(0, None),
    refuses=True,
)
def yolo(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Decodes YOLO's boxes and applies NMS: can't be converted.

    Caffe, YOLO v2: src/caffe/layers/region_loss_layer.cpp; MobileNet-YOLO:
    yolo_detection_output_layer.cpp and yolov3_detection_output_layer.cpp; OpenCV: region_layer.cpp.
    """
    names = " and ".join(layer.bottoms) or "its bottoms"
    raise LayerError(
        f"{layer.type} layers can't be converted: forks of Caffe decode and suppress the boxes in "
        f"different ways, and the prototxt doesn't say which; remove the layer, and decode {names} "
        "in your program"
    )
