"""The parameters of a DetectionOutput layer as data."""

import math
from dataclasses import dataclass

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.layers.registry import LayerError
from geometry.coding import CodeType

MOST_CLASSES = 100_000
"""More than any data set has. A damaged file must not exhaust the memory."""


@dataclass(frozen=True, slots=True)
class DetectionOutput:
    """How loc, conf and priors become detections (`detection_output_layer.cpp` of SSD's Caffe)."""

    classes: int
    """All classes, with the background where there is one."""
    labels: tuple[int, ...]
    """The foreground classes, ascending."""
    share_location: bool
    code_type: CodeType
    variance_encoded_in_target: bool
    clip: bool
    """Whether decoded boxes are cut to 0-1 (OpenVINO's and OpenCV's addition)."""
    confidence_threshold: float
    """Scores must be greater; minus infinity where the model has none."""
    nms_threshold: float
    top_k: int
    """How many boxes of a class enter NMS, by score; -1 for all."""
    keep_top_k: int
    """How many detections of an image are kept, by score; -1 for all."""

    @property
    def location_classes(self) -> int:
        """How many boxes each prior has in the location blob."""
        return 1 if self.share_location else self.classes

    @property
    def default_score(self) -> float | None:
        """The confidence threshold, or None where the model has none."""
        return self.confidence_threshold if math.isfinite(self.confidence_threshold) else None


def read(layer: Layer) -> DetectionOutput:
    """The parameters of a layer, checked. Raises LayerError with all that we or Caffe refuse."""
    parameter = layer.parameter.detection_output_param
    nms = parameter.nms_param
    problems: list[str] = []
    classes = parameter.num_classes
    if not 1 <= classes <= MOST_CLASSES:
        problems.append(f"num_classes must be 1 to {MOST_CLASSES}, background included")
    if not 0 <= nms.nms_threshold < math.inf:
        problems.append("nms_threshold must not be negative")
    for name, limit in (("top_k", nms.top_k), ("keep_top_k", parameter.keep_top_k)):
        if limit == 0 and (name == "keep_top_k" or nms.HasField("top_k")):
            problems.append(
                f"{name} is 0, which keeps nothing: give a positive number, or -1 for all"
            )
    if len(layer.bottoms) > 4:
        problems.append(
            f"has {len(layer.bottoms)} bottoms: it refines boxes in two steps, as RefineDet does, "
            "which is not supported; give loc, conf and priors, and at most the image"
        )
    if nms.eta != 1:
        problems.append(f"eta is {nms.eta:g} (adaptive NMS), which ONNX can't express: remove eta")
    if not parameter.normalized_bbox:
        problems.append("normalized_bbox: false is not supported: boxes must be fractions")
    if math.isnan(parameter.confidence_threshold):
        problems.append("confidence_threshold must be a number")
    if classes == 1 and parameter.background_label_id == 0:
        problems.append("the only class is the background: num_classes must be at least 2")
    if problems:
        raise LayerError(*problems)
    labels = tuple(label for label in range(classes) if label != parameter.background_label_id)
    return DetectionOutput(
        classes=classes,
        labels=labels,
        share_location=parameter.share_location,
        code_type=CodeType(caffe_pb2.PriorBoxParameter.CodeType.Name(parameter.code_type)),
        variance_encoded_in_target=parameter.variance_encoded_in_target,
        clip=parameter.clip,
        confidence_threshold=(
            parameter.confidence_threshold
            if parameter.HasField("confidence_threshold")
            else -math.inf
        ),
        nms_threshold=nms.nms_threshold,
        top_k=nms.top_k if nms.HasField("top_k") else -1,
        keep_top_k=parameter.keep_top_k,
    )
