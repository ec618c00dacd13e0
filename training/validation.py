"""Validates a network by its test prototxt: average precision on held-out images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from convert.caffe import caffe_pb2
from convert.caffe.network import CaffeError, Diagnostic, Network
from geometry.coding import CodeType, decode
from geometry.nms import nms
from training.data.annotated import AnnotatedData
from training.data.dataset import LabelledImage
from training.data.images import opened, upright
from training.evaluation.curves import Curve, Detections, precision_recall
from training.network.network import CaffeNetwork


@dataclass(frozen=True)
class Validation:
    """How detections are made and matched to faces."""

    batch: int
    overlap: float
    """The IoU with a face from which a detection is a true positive."""
    variance_encoded: bool
    score: float
    nms_iou: float
    top_k: int
    keep_top_k: int
    ap_version: str
    """One of `AREAS`; `solver.read` refuses others."""

    @classmethod
    def of_network(cls, network: Network, ap_version: str) -> "Validation":
        """The settings of a test network's DetectionOutput layer."""
        outputs = [layer for layer in network.layers if layer.type == "DetectionOutput"]
        if not outputs:
            raise CaffeError(network.name, [Diagnostic("the test network has no DetectionOutput")])
        own = outputs[0].parameter.detection_output_param
        if own.code_type != caffe_pb2.PriorBoxParameter.CENTER_SIZE:
            problem = Diagnostic("validation supports code_type CENTER_SIZE only", outputs[0].line)
            raise CaffeError(network.name, [problem])
        if own.nms_param.eta != 1:
            problem = Diagnostic("validation does not support an eta in nms_param", outputs[0].line)
            raise CaffeError(network.name, [problem])
        batch, overlap = next(iter(network.inputs.values()))[0], 0.5
        for layer in network.training_layers:
            if layer.type == "AnnotatedData":
                batch = layer.parameter.data_param.batch_size
            elif layer.type == "DetectionEvaluate":
                overlap = layer.parameter.detection_evaluate_param.overlap_threshold
        return cls(
            max(batch, 1),
            overlap,
            own.variance_encoded_in_target,
            own.confidence_threshold,
            own.nms_param.nms_threshold,
            own.nms_param.top_k,
            own.keep_top_k,
            ap_version,
        )


@torch.no_grad()
def validate(
    network: CaffeNetwork,
    data: AnnotatedData,
    dataset: Sequence[LabelledImage],
    how: Validation,
) -> float:
    """Average precision on images warped to the network's input, as in Caffe.

    One rule differs. A detection can overlap two faces enough. Here it takes the one that is free.
    In Caffe it counts as false if the face with the greater IoU is taken.
    """
    network.eval()
    found: list[Detections] = []
    faces = []
    for start in range(0, len(dataset), how.batch):
        part = dataset[start : start + how.batch]
        pictures = []
        for each in part:
            with opened(each.path) as image:
                picture = upright(image)
            size = np.asarray([picture.width, picture.height] * 2, np.float64)
            boxes = each.boxes if each.boxes is not None else np.zeros((0, 4))
            faces.append(np.asarray(boxes, np.float64) / size)
            warped = picture.resize((data.width, data.height), Image.Resampling.BILINEAR)
            pixels = np.asarray(warped, np.float32)[..., ::-1]
            pictures.append(pixels - np.asarray(data.transform.mean_value, np.float32))
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        codes, logits, priors = network.detect(images * data.transform.scale)
        heads = network.heads
        assert heads is not None
        scores = logits.sigmoid() if heads.activation == "logistic" else logits.softmax(-1)
        for code, score in zip(codes.numpy(), scores.numpy(), strict=True):
            found.append(_detections(code, score[:, 1 - heads.background], priors.numpy(), how))
    network.train()
    return AREAS[how.ap_version](precision_recall(found, faces, overlap=how.overlap))


def _detections(
    codes: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    scores: np.ndarray[tuple[int], np.dtype[np.float32]],
    priors: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    how: Validation,
) -> Detections:
    good = np.flatnonzero(scores > how.score)
    corners, variances = priors[good, :4], priors[good, 4:]
    boxes = decode(codes[good], corners, variances, CodeType.CENTER_SIZE, how.variance_encoded)
    kept = nms(boxes, scores[good], how.nms_iou, how.top_k, how.keep_top_k)
    return Detections(boxes[kept].astype(np.float64), scores[good][kept].astype(np.float64))


def _eleven_points(curve: Curve) -> float:
    # In linspace, 0.3 is more than 3 / 10, so a recall of exactly 3 / 10 would not reach it.
    levels = np.arange(11) / 10
    tops = [curve.precision[curve.recall >= level] for level in levels]
    return float(np.mean([top.max() if len(top) else 0.0 for top in tops]))


def _integral(curve: Curve) -> float:
    steps = np.diff(np.append(0.0, curve.recall))
    return float((steps * curve.precision).sum())


def _max_integral(curve: Curve) -> float:
    return curve.average_precision


AREAS: Mapping[str, Callable[[Curve], float]] = {
    "11point": _eleven_points,
    "MaxIntegral": _max_integral,
    "Integral": _integral,
}
"""`ComputeAP` (bbox_util.cpp) by `ap_version`."""
