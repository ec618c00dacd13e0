"""Layers that OpenCV is known to compute differently from Caffe, even in its copy.

The NumPy reference may overrule OpenCV for these layers only. Where a network has none of them and
OpenCV disagrees, verification fails.
"""

from collections.abc import Callable, Mapping

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network
from convert.outputs.kinds import DetectorBlobs
from convert.verify.opencv import needed_for
from convert.verify.reference.registry import formulas
from convert.verify.rewrites.piece import Shapes
from geometry.coding import CodeType


def deviations(network: Network, shapes: Shapes) -> dict[str, str]:
    """The layers that OpenCV computes differently, by name, with the difference."""
    known = formulas()
    found: dict[str, str] = {}
    for layer in network.layers:
        reason = DEVIATIONS[layer.type](layer, shapes) if layer.type in DEVIATIONS else None
        if layer.type in known and known[layer.type].jumps(layer):
            # NumPy computes such a layer from the bottoms that the file has.
            reason = "OpenCV's rounding errors may change its choice"
        if reason:
            found[layer.name] = reason
    return found


def _lrn(layer: Layer, shapes: Shapes) -> str | None:
    """convert.verify.rewrites.affine writes k another way where it is positive."""
    parameter = layer.parameter.lrn_param
    within = parameter.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL
    return "OpenCV ignores k" if parameter.k <= 0 and not within else None


def _correlation(layer: Layer, shapes: Shapes) -> str | None:
    """FlowNet's layer takes |a − b| for a · b where correlation_type is SUBTRACT."""
    parameter = layer.parameter.correlation_param
    subtracts = parameter.correlation_type == caffe_pb2.CorrelationParameter.SUBTRACT
    return "OpenCV multiplies where correlation_type is SUBTRACT" if subtracts else None


def _interp(layer: Layer, shapes: Shapes) -> str | None:
    """Caffe crops the bottom by a negative pad before it resizes it."""
    parameter = layer.parameter.interp_param
    cropped = parameter.pad_beg or parameter.pad_end
    return "OpenCV ignores pad_beg and pad_end" if cropped else None


def _mvn(layer: Layer, shapes: Shapes) -> str | None:
    """Where the mean is large and the variance small, OpenCV 4.14 is off by 1e-4 and more.

    NumPy in float64 and onnxruntime agree there to 1e-6. OpenCV's mean of a large image is off
    too: by 0.3 of 72 at 300x300 pixels, where onnxruntime is off by 2.5e-6.
    """
    has_variance = layer.parameter.mvn_param.normalize_variance
    return f"OpenCV loses digits of {'a small variance' if has_variance else 'the mean'}"


def _tanh(layer: Layer, shapes: Shapes) -> str | None:
    """OpenCV divides numbers near 1 and 2, so a result is off by 1e-7 however small it is."""
    return "OpenCV loses digits of small results"


def _bnll(layer: Layer, shapes: Shapes) -> str | None:
    """OpenCV computes ln(1 + eˣ) directly, and loses digits that ln1p would keep."""
    return "OpenCV loses digits of small results"


def _reorg(layer: Layer, shapes: Shapes) -> str | None:
    """OpenCV 4.14 knows the stride by another name, so it takes its default."""
    stride = layer.parameter.reorg_param.stride
    return "OpenCV takes every stride for 2" if stride != 2 else None


def _data_augmentation(layer: Layer, shapes: Shapes) -> str | None:
    """Caffe subtracts the mean that training stored."""
    stored = layer.parameter.augmentation_param.recompute_mean
    return "OpenCV subtracts the mean of the image itself" if stored else None


DEVIATIONS: Mapping[str, Callable[[Layer, Shapes], str | None]] = {
    "BNLL": _bnll,
    "Correlation": _correlation,
    "DataAugmentation": _data_augmentation,
    "Interp": _interp,
    "LRN": _lrn,
    "MVN": _mvn,
    "Reorg": _reorg,
    "TanH": _tanh,
}
"""By layer type: the difference in how OpenCV computes a layer, or None."""


def detection_deviation(heads: DetectorBlobs, network: Network) -> str | None:
    """Why OpenCV's DetectionOutput can't replace Caffe's in this network; None if it can."""
    detection = heads.detection
    if detection.code_type is CodeType.CORNER_SIZE:
        return "OpenCV decodes CORNER_SIZE as CORNER"
    if detection.variance_encoded_in_target:
        return "OpenCV refuses Caffe's priors where the variance is encoded in the target"
    if detection.nms_threshold <= 0:
        return "OpenCV refuses an NMS threshold of 0"
    for layer in needed_for(network, [heads.priors]).layers:
        prior = layer.parameter.prior_box_param
        if layer.type == "PriorBox" and (prior.img_size or prior.img_w or prior.img_h):
            return "OpenCV ignores img_size, img_h and img_w of PriorBox"
    return None
