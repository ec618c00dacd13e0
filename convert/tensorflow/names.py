"""Maps the constants of TensorFlow's MobileNet-V2 SSD to the layers of this family.

TensorFlow's names come from slim's nets/mobilenet and, for `layer_19_…`, from the detection API's
models/feature_map_generators.py. This family's names come from the prototxts of bonseyes/SFD, which
training/architecture/ writes.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Kernel(StrEnum):
    """The convolutions of the family."""

    STEM = "3×3 of three channels"
    DEPTHWISE = "3×3 depthwise"
    POINTWISE = "1×1"


class Parameter(StrEnum):
    """The parts of a convolution and its BatchNorm, named as TensorFlow does."""

    WEIGHTS = "weights"
    BIASES = "biases"
    GAMMA = "BatchNorm/gamma"
    BETA = "BatchNorm/beta"
    MEAN = "BatchNorm/moving_mean"
    VARIANCE = "BatchNorm/moving_variance"
    EPSILON = "BatchNorm/batchnorm/add/y"


BATCH_NORM = (Parameter.GAMMA, Parameter.BETA, Parameter.MEAN, Parameter.VARIANCE)


@dataclass(frozen=True)
class Unit:
    """A convolution with its BatchNorm: its name here and in TensorFlow."""

    layer: str
    origin: str
    """Below the scope `MobilenetV2`."""
    kernel: Kernel


_SPELLINGS = {
    **{str(parameter): parameter for parameter in Parameter},
    "depthwise_weights": Parameter.WEIGHTS,
    # TensorFlow's optimize_for_inference gives this name to the bias that BatchNorm is folded into
    "Conv2D_weights": Parameter.WEIGHTS,
    "Conv2D_bn_offset": Parameter.BIASES,
    "depthwise_bn_offset": Parameter.BIASES,
}
# Scopes up to the last `MobilenetV2` (they are often nested), and the suffixes that freezing and
# constant folding add.
_NAME = re.compile(
    r"(?:.*/)?MobilenetV2/(?P<unit>[^/]+(?:/(?:expand|depthwise|project))?)"
    rf"/(?P<parameter>{'|'.join(map(re.escape, _SPELLINGS))})"
    r"(?:/read(?:/_\d+__cf__\d+)?)?"
)
_TRAINED = re.compile(
    rf"(?P<scope>.*)/(?:{'|'.join(map(re.escape, _SPELLINGS))})(?:/read(?:/_\d+__cf__\d+)?)?"
)
_UNITS: tuple[tuple[str, str, Kernel], ...] = (
    (r"Conv", r"Conv", Kernel.STEM),
    (r"Conv_1", r"Conv_1", Kernel.POINTWISE),
    (r"expanded_conv/depthwise", r"conv/depthwise", Kernel.DEPTHWISE),
    (r"expanded_conv/project", r"conv/project", Kernel.POINTWISE),
    (r"expanded_conv_(\d{1,2})/depthwise", r"conv_\1/depthwise_", Kernel.DEPTHWISE),
    (r"expanded_conv_(\d{1,2})/(expand|project)", r"conv_\1/\2_", Kernel.POINTWISE),
    (r"layer_19_1_Conv2d_(\d)_1x1_\d+", r"layer_19_1_\1", Kernel.POINTWISE),
    (r"layer_19_2_Conv2d_(\d)_3x3_s2_\d+_depthwise", r"layer_19_2_\1/depthwise", Kernel.DEPTHWISE),
    (r"layer_19_2_Conv2d_(\d)_3x3_s2_\d+", r"layer_19_2_\1", Kernel.POINTWISE),
)


def place(constant: str) -> tuple[Unit, Parameter] | None:
    """The unit and the part that a constant belongs to; None if it has no place in this family."""
    found = _NAME.fullmatch(constant)
    if found is None:
        return None
    origin = found["unit"]
    for pattern, layer, kernel in _UNITS:
        match = re.fullmatch(pattern, origin)
        if match is not None:
            unit = Unit(match.expand(layer), origin, kernel)
            return unit, _SPELLINGS[found["parameter"]]
    return None


def trained(constant: str) -> str | None:
    """The scope in the name of a trained constant; None for any other constant."""
    found = _TRAINED.fullmatch(constant)
    return found["scope"] if found else None


def missing(layers: set[str]) -> list[str]:
    """The layers that a graph with these layers of a backbone must have, in order.

    A graph may end early, but no block may be incomplete or missing.
    """
    numbers = [int(found[1]) for name in layers if (found := re.match(r"conv_(\d+)/", name))]
    expected = ["Conv", "conv/depthwise", "conv/project"]
    for number in range(1, max(numbers, default=0) + 1):
        expected += [f"conv_{number}/{part}_" for part in ("expand", "depthwise", "project")]
    return [name for name in expected if name not in layers]


def order(layer: str) -> tuple[int, ...]:
    """A key that sorts layers in the order of the family's prototxts."""
    ranks = ("Conv", "conv/", "conv_", "Conv_1", "layer_")
    rank = max(index for index, start in enumerate(ranks) if layer.startswith(start))
    number = re.search(r"_(\d+)(?:/|$)", layer)
    # expand < depthwise < project, and layer_19_1_2 < layer_19_2_2/depthwise < layer_19_2_2
    within = ("expand", "layer_19_1", "depthwise", "project")
    part = next((index for index, word in enumerate(within) if word in layer), len(within))
    return rank, int(number[1]) if number else 0, part
