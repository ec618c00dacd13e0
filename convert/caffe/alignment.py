"""Where a Crop layer without `crop_param` cuts.

Such a layer means two things. In the Caffe of FCN and HED (the branch of Jonathan Long, 2014 and
2015) the offset follows from the layers between the two bottoms. In BVLC Caffe, since 2016, it is
0. Only that branch has the layer in the old form (`layers { type: CROP }`).
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from convert.caffe import caffe_pb2
from convert.caffe.depthwise import DEPTHWISE
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.legacy import Entry

_CONVOLUTIONS = frozenset(["Convolution", *DEPTHWISE])
_SAME_PIXELS = frozenset(
    [
        "AbsVal",
        "BatchNorm",
        "Bias",
        "BN",
        "BNLL",
        "Dropout",
        "ELU",
        "Eltwise",
        "Exp",
        "Log",
        "LRN",
        "MVN",
        "Power",
        "PReLU",
        "ReLU",
        "Scale",
        "Sigmoid",
        "Split",
        "TanH",
        "Threshold",
    ]
)
"""Layers whose top has the pixels of the first bottom (Caffe: python/caffe/coord_map.py)."""


class Map(NamedTuple):
    """The place scale · x + shift in one blob for the place x in another, along one axis."""

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)

    def after(self, first: "Map") -> "Map":
        """The map that applies `first`, then this one."""
        return Map(self.scale * first.scale, self.scale * first.shift + self.shift)

    def inverse(self) -> "Map":
        """The map in the other direction."""
        return Map(1 / self.scale, -self.shift / self.scale)


Parameters = caffe_pb2.ConvolutionParameter | caffe_pb2.PoolingParameter
Pair = tuple[Map, Map]
"""The maps along height and width."""
SAME: Pair = (Map(), Map())


class _Unknown(Exception):
    """Why the offset can't be computed; empty if a layer before is wrong, which is reported."""


class _Step(NamedTuple):
    """A layer on the way to a blob: what it is, and the blob that it reads first."""

    parameter: caffe_pb2.LayerParameter
    bottom: str


def align(
    entries: Sequence[Entry],
    bottoms: Sequence[Sequence[str]],
    tops: Sequence[Sequence[str]],
) -> tuple[list[caffe_pb2.LayerParameter], list[Diagnostic]]:
    """The layers, with the offset stated in each Crop layer of the old form.

    `bottoms` and `tops` are the values of each layer, each made once. A Crop layer of the current
    form without `crop_param` is a problem where the two meanings differ.
    """
    layers: list[caffe_pb2.LayerParameter] = []
    problems: list[Diagnostic] = []
    steps: dict[str, _Step] = {}
    for entry, read, made in zip(entries, bottoms, tops, strict=True):
        layer = entry.parameter
        if layer.type == "Crop" and len(read) == 2 and not layer.HasField("crop_param"):
            try:
                offset = _offset(read[0], read[1], steps)
            except _Unknown as error:
                if entry.old and str(error):
                    text = (
                        f"the offset can't be computed from the layers before it, because {error}; "
                        "state crop_param { offset: N }"
                    )
                    problems.append(Diagnostic(text, entry.line, layer=layer.name))
            else:
                if entry.old:
                    layer = _stated(layer, offset)
                elif any(offset):
                    problems.append(Diagnostic(_ambiguous(offset), entry.line, layer=layer.name))
        layers.append(layer)
        if read:
            steps.update(dict.fromkeys(made, _Step(layer, read[0])))
    return layers, problems


def _ambiguous(offset: tuple[int, int]) -> str:
    numbers = dict.fromkeys(offset) if offset[0] == offset[1] else offset
    stated = " ".join(f"offset: {number}" for number in numbers)
    return (
        f"the offset is missing: state crop_param {{ {stated} }} if the network was made for the "
        "Caffe of FCN or HED, which computes it from the layers before, or "
        "crop_param { offset: 0 } if it was made for BVLC Caffe"
    )


def _stated(layer: caffe_pb2.LayerParameter, offset: tuple[int, int]) -> caffe_pb2.LayerParameter:
    stated = caffe_pb2.LayerParameter()
    stated.CopyFrom(layer)
    stated.crop_param.axis = 2
    stated.crop_param.offset.extend(offset)
    return stated


def _offset(cropped: str, like: str, steps: Mapping[str, _Step]) -> tuple[int, int]:
    """Where the pixels of `like` begin in `cropped`, as (height, width).

    Caffe: src/caffe/layers/crop_layer.cpp of the branch: both are followed back, by the first
    bottom of each layer, to a blob that they have in common.
    """
    ancestors = set(_back(cropped, steps))
    common = next((blob for blob in _back(like, steps) if blob in ancestors), None)
    if common is None:
        raise _Unknown("the bottoms have no blob in common")
    first, second = _maps(cropped, common, steps), _maps(like, common, steps)
    offset = []
    for to_cropped, to_like in zip(first, second, strict=True):
        between = to_like.after(to_cropped.inverse())
        if between.scale != 1:
            raise _Unknown(f"{like} has {between.scale} times as many pixels as {cropped}")
        if between.shift.denominator != 1 or between.shift > 0:
            raise _Unknown(f"it would be {float(-between.shift):g}")
        offset.append(int(-between.shift))
    return offset[0], offset[1]


def _back(blob: str, steps: Mapping[str, _Step]) -> list[str]:
    """The blob and those before it, by the first bottom of each layer."""
    path = [blob]
    while path[-1] in steps:
        path.append(steps[path[-1]].bottom)
    return path


def _maps(blob: str, common: str, steps: Mapping[str, _Step]) -> Pair:
    """From the pixels of `common` to those of `blob`."""
    height, width = SAME
    while blob != common:
        step = steps[blob]
        down, right = _of_layer(step.parameter)
        height, width = height.after(down), width.after(right)
        blob = step.bottom
    return height, width


def _of_layer(layer: caffe_pb2.LayerParameter) -> Pair:
    """From the pixels of a layer's first bottom to those of its top.

    Caffe: FilterMap and the layers' coord_map in the branch's include/caffe/.
    """
    if layer.type in _SAME_PIXELS:
        return SAME
    if layer.type == "Crop":
        down, right = _crop_offset(layer.crop_param)
        return Map(shift=-Fraction(down)), Map(shift=-Fraction(right))
    pooled = layer.pooling_param
    if layer.type in {*_CONVOLUTIONS, "Deconvolution"}:
        height, width = _windows(layer.convolution_param)
    elif layer.type == "Pooling" and not pooled.global_pooling:
        height, width = _windows(pooled)
    else:
        raise _Unknown(f"it is not known where layer {layer.name} ({layer.type}) moves the pixels")
    if layer.type == "Deconvolution":
        return height, width
    return height.inverse(), width.inverse()


def _crop_offset(parameter: caffe_pb2.CropParameter) -> tuple[int, int]:
    """The offset of an image [batch, channels, height, width] along height and width."""
    axis = parameter.axis % 4
    offsets = list(parameter.offset) or [0]
    if len(offsets) == 1:
        offsets *= 4 - axis
    # Axes before `axis` are whole.
    padded = [0, 0, 0, 0, *offsets]
    return padded[-2], padded[-1]


def _windows(parameter: Parameters) -> Pair:
    """From the top of a convolution or pooling to its bottom: the centre of each window."""
    kernels = _sizes(parameter, "kernel_size", "kernel", 0)
    strides = _sizes(parameter, "stride", "stride", 1)
    pads = _sizes(parameter, "pad", "pad", 0)
    dilations = (1, 1)
    if isinstance(parameter, caffe_pb2.ConvolutionParameter):
        dilations = _sizes(parameter, "dilation", "", 1)
    height, width = (
        Map(Fraction(stride), Fraction(dilation * (kernel - 1), 2) - pad)
        for kernel, stride, pad, dilation in zip(kernels, strides, pads, dilations, strict=True)
    )
    if not (min(kernels) and min(strides)):
        raise _Unknown
    return height, width


def _sizes(parameter: Parameters, name: str, pair: str, default: int) -> tuple[int, int]:
    """A size of a window for height and width, stated once, twice, or as `pair`_h and `pair`_w."""
    if pair and (parameter.HasField(f"{pair}_h") or parameter.HasField(f"{pair}_w")):
        return getattr(parameter, f"{pair}_h"), getattr(parameter, f"{pair}_w")
    value = getattr(parameter, name)
    values = [value] if isinstance(value, int) else list(value) or [default]
    return values[0], values[-1]
