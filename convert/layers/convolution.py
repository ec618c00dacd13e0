"""Convolution and its depthwise aliases."""

from collections.abc import Sequence
from dataclasses import dataclass

from convert.caffe.depthwise import DEPTHWISE
from convert.caffe.network import Layer
from convert.graph import Array, GraphBuilder, Value
from convert.layers.blobs import check_blobs, image_size
from convert.layers.convolution3d import spatial
from convert.layers.registry import LayerError, handler
from geometry.arrays import F32


@dataclass(frozen=True)
class Window:
    """The geometry of a sliding window, each pair as (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def extent(self) -> tuple[int, int]:
        """The number of pixels that the dilated kernel spans."""
        return (
            self.dilation[0] * (self.kernel[0] - 1) + 1,
            self.dilation[1] * (self.kernel[1] - 1) + 1,
        )


@handler(
    "Convolution",
    *sorted(DEPTHWISE),
    bottoms=(1, None),
    tops=(1, None),
    weights=True,
)
def convolution(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """Σ weight · window + bias per group, out = ⌊(in + 2·pad − extent) / stride⌋ + 1.

    The extent is dilation · (kernel − 1) + 1. Several bottoms share the weights. The depthwise
    types have one group for each channel and ignore `group`. Caffe:
    src/caffe/layers/base_conv_layer.cpp, conv_layer.cpp.
    """
    check_pairing(layer)
    if layer.type not in DEPTHWISE and any(x.rank != 4 for x in inputs):
        return [spatial(layer, graph, x, top) for x, top in zip(inputs, layer.tops, strict=True)]
    window = read_window(layer)
    values: list[Value] = []
    for x, top in zip(inputs, layer.tops, strict=True):
        lengths = image_size(x)
        channels = x.static(1)
        outputs, groups = read_outputs(layer, channels)
        check_blobs(
            layer,
            [(outputs, channels // groups, *window.kernel)] + [(outputs,)] * has_bias(layer),
        )
        size = window_counts(window, lengths)
        weight = layer.blobs[0].reshape(outputs, channels // groups, *window.kernel)
        values.append(
            graph.node(
                "Conv",
                [x, *constants(layer, graph, weight)],
                (x.shape[0], outputs, *size),
                name=top,
                kernel_shape=window.kernel,
                strides=window.stride,
                pads=window.pad * 2,
                dilations=window.dilation,
                group=groups,
            )
        )
    return values


def read_window(layer: Layer) -> Window:
    """The window of a convolution_param.

    `kernel_size`, `pad`, `stride` and `dilation` are given once for both axes, or once for each.
    `kernel_h`, `kernel_w` and the like are the other form; both forms together are an error.
    """
    parameter = layer.parameter.convolution_param
    window = Window(
        kernel=_pair(layer, "kernel_size", parameter.kernel_size, "kernel_h", "kernel_w", None),
        stride=_pair(layer, "stride", parameter.stride, "stride_h", "stride_w", 1),
        pad=_pair(layer, "pad", parameter.pad, "pad_h", "pad_w", 0),
        dilation=_pair(layer, "dilation", parameter.dilation, "", "", 1),
    )
    if min(*window.kernel, *window.stride, *window.dilation) < 1:
        raise LayerError("kernel_size, stride and dilation must be at least 1")
    return window


def window_counts(window: Window, lengths: tuple[int, int]) -> list[int]:
    """How many windows fit along height and width of a padded input of these lengths."""
    counts = [
        (length + 2 * pad - extent) // stride + 1
        for length, pad, extent, stride in zip(
            lengths, window.pad, window.extent, window.stride, strict=True
        )
    ]
    if min(counts) < 1:
        raise LayerError(
            f"the kernel spans {window.extent} pixels, more than the padded input of "
            f"{lengths[0]} by {lengths[1]}; use a larger input size"
        )
    return counts


def read_outputs(layer: Layer, channels: int) -> tuple[int, int]:
    """The number of outputs and of groups, which must divide each other and the channels."""
    parameter = layer.parameter.convolution_param
    outputs = parameter.num_output
    depthwise = layer.type in DEPTHWISE
    groups = channels if depthwise else parameter.group
    if outputs < 1:
        raise LayerError("num_output is missing; state how many channels the layer makes")
    if groups < 1 or channels % groups or outputs % groups:
        raise LayerError(
            f"group is {groups}, which must divide the {channels} channels of the bottom "
            f"and num_output {outputs}"
        )
    if parameter.axis not in (1, -3):
        raise LayerError(f"axis is {parameter.axis}; only channels on axis 1 can be converted")
    return outputs, groups


def has_bias(layer: Layer) -> bool:
    """Whether the layer adds a bias."""
    return layer.parameter.convolution_param.bias_term


def constants(layer: Layer, graph: GraphBuilder, weight: F32) -> list[Value]:
    """The layer's weight and bias as constants of the graph."""
    arrays: list[tuple[str, Array]] = [("weight", weight)]
    if has_bias(layer):
        arrays.append(("bias", layer.blobs[1].reshape(-1)))
    return [graph.constant(array, f"{layer.name}/{kind}") for kind, array in arrays]


def check_pairing(layer: Layer) -> None:
    """Raise LayerError unless each bottom has a top."""
    if len(layer.bottoms) != len(layer.tops):
        raise LayerError(
            f"expected a top for each bottom, found {len(layer.bottoms)} bottoms "
            f"and {len(layer.tops)} tops"
        )


def _pair(
    layer: Layer,
    name: str,
    repeated: Sequence[int],
    height: str,
    width: str,
    default: int | None,
) -> tuple[int, int]:
    parameter = layer.parameter.convolution_param
    if height and (parameter.HasField(height) or parameter.HasField(width)):
        if repeated:
            raise LayerError(f"{name} and {height}/{width} are both given; keep one of them")
        return getattr(parameter, height), getattr(parameter, width)
    if not repeated:
        if default is None:
            raise LayerError(f"{name} is missing; state it, or {height} and {width}")
        return default, default
    if len(repeated) > 2:
        raise LayerError(f"{name} is given {len(repeated)} times; expected 1 or 2, for 2-D images")
    return repeated[0], repeated[-1]
