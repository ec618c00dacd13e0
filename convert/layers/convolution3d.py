"""Convolutions and deconvolutions over one axis or three, and C3D's Convolution3D."""

from collections.abc import Sequence
from dataclasses import dataclass

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import check_blobs, text
from convert.layers.registry import LayerError, handler


@dataclass(frozen=True)
class Volume:
    """A convolution over any number of axes; every tuple has one number for each axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    outputs: int
    groups: int
    bias: bool

    @property
    def extents(self) -> tuple[int, ...]:
        """The numbers of elements that the dilated kernel spans."""
        return tuple(
            dilation * (kernel - 1) + 1
            for kernel, dilation in zip(self.kernel, self.dilation, strict=True)
        )


@handler("Convolution3D", weights=True)
def convolution3d(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Σ weight · window + bias over time, height and width, out = ⌊(in + 2·pad − k) / stride⌋ + 1.

    `kernel_depth`, `temporal_stride` and `temporal_pad` apply to time. `filter_group` is only the
    number of steps in which C3D computes, and is ignored. Caffe, C3D:
    src/caffe/layers/convolution3d_layer.cpp.
    """
    (x,) = inputs
    own = layer.parameter.HasField("convolution3d_param")
    parameter = layer.parameter.convolution3d_param if own else layer.parameter.convolution_param
    if x.rank != 5:
        raise LayerError(
            "expected a bottom of shape [batch, channels, time, height, width], found "
            f"{text(x.shape)}"
        )
    kernel, stride, pad = (
        _side(layer, name, default)
        for name, default in (("kernel_size", None), ("stride", 1), ("pad", 0))
    )
    volume = Volume(
        kernel=(parameter.kernel_depth, kernel, kernel),
        stride=(parameter.temporal_stride, stride, stride),
        pad=(parameter.temporal_pad, pad, pad),
        dilation=(1, 1, 1),
        outputs=parameter.num_output,
        groups=parameter.group,
        bias=parameter.bias_term,
    )
    return convolve(layer, graph, x, layer.tops[0], volume)


def spatial(layer: Layer, graph: GraphBuilder, x: Value, top: str) -> Value:
    """A Convolution whose bottom does not have exactly two spatial axes."""
    return convolve(layer, graph, x, top, read_volume(layer, x))


def spatial_transpose(layer: Layer, graph: GraphBuilder, x: Value, top: str) -> Value:
    """A Deconvolution whose bottom does not have exactly two spatial axes."""
    volume = read_volume(layer, x)
    channels = check_volume(volume, x)
    shape = (channels, volume.outputs // volume.groups, *volume.kernel)
    check_blobs(layer, [shape, *_bias_shapes(layer, volume)])
    size = [
        stride * (x.static(axis) - 1) + extent - 2 * pad
        for axis, (stride, extent, pad) in enumerate(
            zip(volume.stride, volume.extents, volume.pad, strict=True), start=2
        )
    ]
    if min(size) < 1:
        raise LayerError(f"pad {text(volume.pad)} leaves nothing of the output; use a smaller pad")
    return _node("ConvTranspose", layer, graph, x, (top, size), volume, shape)


def read_volume(layer: Layer, x: Value) -> Volume:
    """The numbers of a convolution_param for the axes of x.

    `kernel_size`, `stride`, `pad` and `dilation` are given once, or once for each axis
    (base_conv_layer.cpp); the names in _h and _w are for two axes only.
    """
    parameter = layer.parameter.convolution_param
    axes = x.rank - 2
    if axes < 1:
        raise LayerError(
            f"expected a bottom of shape [batch, channels, height, width], found {x.name} "
            f"of shape {text(x.shape)}"
        )
    if parameter.axis not in (1, 1 - x.rank):
        raise LayerError(f"axis is {parameter.axis}; only channels on axis 1 can be converted")
    named = ("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w")
    if any(parameter.HasField(name) for name in named):
        raise LayerError(f"kernel_h, kernel_w and the like need 2 spatial axes, found {axes}")
    return Volume(
        kernel=_each("kernel_size", parameter.kernel_size, axes, None),
        stride=_each("stride", parameter.stride, axes, 1),
        pad=_each("pad", parameter.pad, axes, 0),
        dilation=_each("dilation", parameter.dilation, axes, 1),
        outputs=parameter.num_output,
        groups=parameter.group,
        bias=parameter.bias_term,
    )


def check_volume(volume: Volume, x: Value) -> int:
    """The channels of x, which must fit the numbers of the volume."""
    channels = x.static(1)
    if min(*volume.kernel, *volume.stride, *volume.dilation) < 1:
        raise LayerError("the kernel's sizes, the strides and the dilations must be at least 1")
    if volume.outputs < 1:
        raise LayerError("num_output is missing; state how many channels the layer makes")
    if volume.groups < 1 or channels % volume.groups or volume.outputs % volume.groups:
        raise LayerError(
            f"group is {volume.groups}, which must divide the {channels} channels of the bottom "
            f"and num_output {volume.outputs}"
        )
    return channels


def convolve(layer: Layer, graph: GraphBuilder, x: Value, top: str, volume: Volume) -> Value:
    """Check the numbers of a volume and add its Conv node."""
    channels = check_volume(volume, x)
    shape = (volume.outputs, channels // volume.groups, *volume.kernel)
    check_blobs(layer, [shape, *_bias_shapes(layer, volume)])
    lengths = [x.static(axis) for axis in range(2, x.rank)]
    size = [
        (length + 2 * pad - extent) // stride + 1
        for length, pad, extent, stride in zip(
            lengths, volume.pad, volume.extents, volume.stride, strict=True
        )
    ]
    if min(size) < 1:
        raise LayerError(
            f"the kernel spans {text(volume.extents)}, more than the padded input of "
            f"{text(tuple(lengths))}; use a larger input size"
        )
    return _node("Conv", layer, graph, x, (top, size), volume, shape)


def _node(
    operator: str,
    layer: Layer,
    graph: GraphBuilder,
    x: Value,
    made: tuple[str, Sequence[int]],
    volume: Volume,
    shape: tuple[int, ...],
) -> Value:
    """The node, with weights of a `shape`, that makes a top of a name and a size."""
    top, size = made
    blobs = [graph.constant(layer.blobs[0].reshape(shape), f"{layer.name}/weight")]
    if volume.bias:
        blobs.append(graph.constant(layer.blobs[1].reshape(-1), f"{layer.name}/bias"))
    return graph.node(
        operator,
        [x, *blobs],
        (x.shape[0], volume.outputs, *size),
        name=top,
        kernel_shape=volume.kernel,
        strides=volume.stride,
        pads=volume.pad * 2,
        dilations=volume.dilation,
        group=volume.groups,
    )


def _bias_shapes(layer: Layer, volume: Volume) -> list[tuple[int, ...]]:
    if not volume.bias:
        return []
    # C3D's blobs have five axes.
    five = (1, 1, 1, 1, volume.outputs)
    found = layer.blobs[1].shape if len(layer.blobs) > 1 else five
    return [five if found == five else (volume.outputs,)]


def _side(layer: Layer, name: str, default: int | None) -> int:
    """One number for both height and width."""
    if layer.parameter.HasField("convolution3d_param"):
        own = layer.parameter.convolution3d_param
        if default is None and not own.HasField(name):
            raise LayerError(f"{name} is missing; state it")
        return int(getattr(own, name))
    return _each(name, getattr(layer.parameter.convolution_param, name), 1, default)[0]


def _each(name: str, given: Sequence[int], axes: int, default: int | None) -> tuple[int, ...]:
    """One number for each axis."""
    if not given:
        if default is None:
            raise LayerError(f"{name} is missing; state it")
        return (default,) * axes
    if len(given) not in (1, axes):
        raise LayerError(f"{name} is given {len(given)} times; expected once or {axes} times")
    return tuple(given) * (axes if len(given) == 1 else 1)
