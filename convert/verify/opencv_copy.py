"""The copy of a network that OpenCV gets: the same computation, in a form that OpenCV reads right.

OpenCV reads many prototxts differently from Caffe. It has other defaults, ignores some fields, and
lacks the names that forks gave to common layers. Each rewrite below expresses what Caffe computes
with other layers or fields, so that OpenCV computes the same. A rewrite never uses the ONNX graph.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import Message

from convert.caffe import blobs as encoding
from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network
from convert.graph import Shape
from geometry.arrays import F32

Shapes = Mapping[str, Shape]
"""The shape of each blob of the network, by name."""


@dataclass(frozen=True, slots=True)
class OpenCVCopy:
    """A network as OpenCV gets it."""

    prototxt: str
    added: bytes
    """The blobs that the weights file lacks, as a caffemodel to append to it.

    Two protobuf messages in a row read as one message.
    """
    makers: Mapping[str, "Maker"]
    """What makes each blob."""


@dataclass(frozen=True, slots=True)
class Maker:
    """The place of a network's blob in the copy."""

    layer: str
    """The name of the layer that makes it."""
    blob: str
    """Its own name. OpenCV 4.14 calls a convolution by the name of its top."""
    position: int
    """Its place among the layer's tops."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One layer of the copy."""

    layer: caffe_pb2.LayerParameter
    blobs: tuple[F32, ...] = ()
    """Its blobs, where they differ from those of the file."""


def opencv_copy(network: Network, shapes: Shapes) -> OpenCVCopy:
    """Write a network for OpenCV, with all its layers.

    Its inputs have the shapes of one picture; `shapes` are those of all its blobs.
    """
    parameter = caffe_pb2.NetParameter(name=network.name)
    for blob, shape in network.inputs.items():
        parameter.input.append(blob)
        parameter.input_shape.add(dim=shape)
    added = caffe_pb2.NetParameter(name=network.name)
    makers: dict[str, Maker] = {}
    names = {layer.name for layer in network.layers}
    used: set[str] = set()
    for piece in _pieces(network, shapes):
        message = piece.layer
        # OpenCV takes weights by name. A second layer of one name has no weights, or other ones.
        if message.name in used or (piece.blobs and message.name in names):
            message.name = _fresh(message.name, used | names)
        used.add(message.name)
        # No blob may have the name of a layer: see Maker.blob.
        for blobs in (message.bottom, message.top):
            blobs[:] = [blob if blob in network.inputs else f"{blob}/blob" for blob in blobs]
        makers |= {
            blob.removesuffix("/blob"): Maker(message.name, blob, index)
            for index, blob in enumerate(message.top)
        }
        parameter.layer.append(message)
        if piece.blobs:
            entry = added.layer.add(name=message.name, type=message.type)
            entry.blobs.extend(encoding.encode(blob) for blob in piece.blobs)
    content = added.SerializeToString() if added.layer else b""
    text = text_format.MessageToString(parameter)
    # OpenCV's schema has whole numbers for some fields that a fork made floating.
    text = re.sub(r"(: -?\d+)\.0$", r"\1", text, flags=re.MULTILINE)
    return OpenCVCopy(text, content, makers)


def _pieces(network: Network, shapes: Shapes) -> list[Piece]:
    read = {bottom for layer in network.layers for bottom in layer.bottoms}
    pieces: list[Piece] = []
    for layer in network.layers:
        if layer.tops and set(layer.tops) <= set(network.inputs):
            continue  # an Input layer
        rewrite = REWRITES.get(layer.type)
        message = _cleaned(layer)
        made = rewrite(layer, message, shapes) if rewrite else [Piece(message)]
        pieces += [_with_shared(piece, layer) for piece in made]
        if len(layer.tops) > 1:
            # OpenCV counts a layer's tops by their readers, and cuts a Slice into as many parts.
            idle = [top for top in layer.tops if top not in read]
            pieces = _read_by_copies(pieces, idle)
    return pieces


def _with_shared(piece: Piece, layer: Layer) -> Piece:
    """OpenCV knows no shared parameters: a layer with some gets the values that Caffe uses."""
    is_own = piece.layer.name == layer.name and not piece.blobs
    shares = any(spec.name for spec in layer.parameter.param)
    return replace(piece, blobs=layer.blobs) if is_own and shares else piece


def _read_by_copies(pieces: list[Piece], idle: Sequence[str]) -> list[Piece]:
    """Give each top that nothing reads a reader: an identity, which makes the blob."""
    for top in idle:
        for piece in pieces:
            tops = [f"{name}/idle" if name == top else name for name in piece.layer.top]
            del piece.layer.top[:]
            piece.layer.top.extend(tops)
        pieces.append(_identity(top, f"{top}/idle", top))
    return pieces


def _cleaned(layer: Layer) -> caffe_pb2.LayerParameter:
    """The layer without what only training or an engine needs, its values by their own names."""
    message = caffe_pb2.LayerParameter()
    message.CopyFrom(layer.parameter)
    for field in (
        "bottom", "top", "include", "exclude", "param", "blobs", "phase", "loss_weight",
        "propagate_down", "transform_param", "loss_param", "engine",
    ):  # fmt: skip
        message.ClearField(field)
    _without_fillers(message)
    message.name, message.type = layer.name, layer.type
    message.bottom.extend(layer.bottoms)
    message.top.extend(layer.tops)
    return message


def _without_fillers(message: Message) -> None:
    """Drop initial values and engines: OpenCV's schema lacks some, which stops its parser."""
    for field, value in message.ListFields():
        is_filler = field.message_type is not None and field.message_type.name == "FillerParameter"
        if field.name == "engine" or is_filler:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.is_repeated:
            _without_fillers(value)


def _fresh(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"


def _identity(name: str, bottom: str, top: str) -> Piece:
    return Piece(caffe_pb2.LayerParameter(name=name, type="Power", bottom=[bottom], top=[top]))


def _power(
    name: str, bottom: str, top: str, *, scale: float = 1.0, shift: float = 0.0, power: float = 1.0
) -> Piece:
    message = caffe_pb2.LayerParameter(name=name, type="Power", bottom=[bottom], top=[top])
    parameter = message.power_param
    parameter.scale, parameter.shift, parameter.power = scale, shift, power
    return Piece(message)


Rewrite = Callable[[Layer, caffe_pb2.LayerParameter, Shapes], list[Piece]]


def _prior_box(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV has other defaults, and no `int` for the sizes as Caffe has."""
    prior = message.prior_box_param
    prior.flip, prior.clip, prior.offset = prior.flip, prior.clip, prior.offset
    if not prior.variance:
        prior.variance.append(0.1)
    for sizes in (prior.min_size, prior.max_size):
        sizes[:] = [float(int(size)) for size in sizes]
    return [Piece(message)]


def _detection_output(
    layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes
) -> list[Piece]:
    """OpenCV has other defaults. It allocates `keep_top_k` rows, and can't take -1."""
    detection = message.detection_output_param
    detection.share_location = detection.share_location
    detection.background_label_id = detection.background_label_id
    detection.code_type = detection.code_type
    detection.nms_param.nms_threshold = detection.nms_param.nms_threshold
    detection.ClearField("save_output_param")
    if not detection.HasField("confidence_threshold"):
        detection.confidence_threshold = float(np.finfo(np.float32).min)
    if detection.keep_top_k < 0:
        detection.keep_top_k = 100_000
    return [Piece(message)]


def _lrn(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores k, and has other defaults.

    x / (k + a · s) ^ beta is k ^ -beta · x / (1 + a / k · s) ^ beta.
    """
    lrn = message.lrn_param
    lrn.local_size, lrn.alpha, lrn.beta = lrn.local_size, lrn.alpha, lrn.beta
    k = lrn.k
    lrn.ClearField("k")
    within = lrn.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL
    if within or k == 1 or k <= 0:
        return [Piece(message)]
    (top,) = layer.tops
    inner = f"{top}/lrn"
    lrn.alpha = lrn.alpha / k
    message.top[:] = [inner]
    return [Piece(message), _power(f"{layer.name}/k", inner, top, scale=k**-lrn.beta)]


def _inner_product(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores `transpose`: it gets the transposed weights."""
    product = message.inner_product_param
    if not product.transpose or not layer.blobs:
        return [Piece(message)]
    product.ClearField("transpose")
    weight = layer.blobs[0].reshape(-1, product.num_output)
    return [Piece(message, (np.ascontiguousarray(weight.T), *layer.blobs[1:]))]


def _log(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV's Log has no parameters: Power layers before and after it do their work."""
    log = message.log_param
    (bottom,), (top,) = layer.bottoms, layer.tops
    before, after = f"{top}/shifted", f"{top}/log"
    first = _power(f"{layer.name}/shift", bottom, before, scale=log.scale, shift=log.shift)
    base = 1.0 if log.base == -1 else math.log(log.base)
    message.ClearField("log_param")
    message.bottom[:], message.top[:] = [before], [after]
    return [first, Piece(message), _power(f"{layer.name}/base", after, top, scale=1 / base)]


def _axpy(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV multiplies the third bottom and adds the second, which is not SENet's order."""
    factor, x, y = layer.bottoms
    (top,) = layer.tops
    product = f"{top}/product"
    scale = caffe_pb2.LayerParameter(name=f"{layer.name}/scale", type="Scale", top=[product])
    scale.bottom.extend([x, factor])
    scale.scale_param.axis = 0
    total = caffe_pb2.LayerParameter(name=layer.name, type="Eltwise", top=[top])
    total.bottom.extend([product, y])
    return [Piece(scale), Piece(total)]


def _swish(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores beta: x · sigmoid(beta · x) is swish(beta · x) / beta."""
    beta = message.swish_param.beta
    message.ClearField("swish_param")
    if beta in (0, 1):
        name, bottom, top = f"{layer.name}/half", layer.bottoms[0], layer.tops[0]
        return [Piece(message)] if beta else [_power(name, bottom, top, scale=0.5)]
    (bottom,), (top,) = layer.bottoms, layer.tops
    before, after = f"{top}/scaled", f"{top}/swish"
    message.bottom[:], message.top[:] = [before], [after]
    return [
        _power(f"{layer.name}/beta", bottom, before, scale=beta),
        Piece(message),
        _power(f"{layer.name}/unscaled", after, top, scale=1 / beta),
    ]


def _convolution(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV lacks the forks' names for depthwise convolutions, and takes one bottom only.

    It also misreads some depthwise convolutions. Larger groups, with zeros for the weights of the
    other channels, are computed another way.
    """
    pieces: list[Piece] = []
    for index, (bottom, top) in enumerate(zip(layer.bottoms, layer.tops, strict=True)):
        single = caffe_pb2.LayerParameter()
        single.CopyFrom(message)
        single.type = "Convolution"
        single.bottom[:], single.top[:] = [bottom], [top]
        channels, *size = (int(dim) for dim in shapes[bottom][1:])
        parameter = single.convolution_param
        if layer.type != "Convolution":
            parameter.group = channels
        blobs = layer.blobs if index else ()
        if parameter.group == channels > 1 and layer.blobs and _is_misread(layer, size):
            parameter.group, weight = _regrouped(layer.blobs[0], channels)
            blobs = (weight, *layer.blobs[1:])
        pieces.append(Piece(single, blobs))
    return pieces


def _is_misread(layer: Layer, size: Sequence[int]) -> bool:
    """Whether OpenCV's fast path for depthwise 3x3 convolutions reads the wrong memory.

    With padding it assumes that each row has a second pixel, and the map a second row. And it
    assumes that the padding is as wide as the dilation. Seen with OpenCV 4.14 for maps that are one
    pixel high or wide, and for dilation 2 and 3 with padding 1.
    """
    parameter = layer.parameter.convolution_param
    pads = list(parameter.pad) or [parameter.pad_h, parameter.pad_w]
    dilation = list(parameter.dilation) or [1]
    if layer.blobs[0].shape[-2:] != (3, 3) or not any(pads):
        return False
    return min(size) <= max(dilation) or {*pads} != {*dilation}


def _regrouped(weight: F32, channels: int) -> tuple[int, F32]:
    """The weights of a depthwise convolution for fewer, larger groups, and their number."""
    width = next(number for number in range(2, channels + 1) if channels % number == 0)
    kernel = weight.shape[-2:]
    multiple = weight.size // (channels * kernel[0] * kernel[1])
    wide = np.zeros((channels, multiple, width, *kernel), np.float32)
    for channel in range(channels):
        wide[channel, :, channel % width] = weight.reshape(channels, multiple, *kernel)[channel]
    return channels // width, wide.reshape(channels * multiple, width, *kernel)


def _deconvolution(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores `dilation`, so it gets a larger kernel with zeros between the weights.

    It merges a BatchNorm or Scale into the Deconvolution before it, which is wrong where that has
    groups. A Permute that changes nothing keeps them apart. With a kernel of one pixel and
    padding, OpenCV writes outside of its memory. So it gets a kernel of three by three, with zeros
    around the weight, and more padding.
    """
    pieces: list[Piece] = []
    for index, (bottom, top) in enumerate(zip(layer.bottoms, layer.tops, strict=True)):
        single = caffe_pb2.LayerParameter()
        single.CopyFrom(message)
        single.bottom[:], single.top[:] = [bottom], [top]
        blobs = layer.blobs if index else ()
        if layer.blobs:
            parameter = single.convolution_param
            weight = _spread(layer.blobs[0], (list(parameter.dilation) or [1]) * 2)
            pads = (list(parameter.pad) or [0]) * 2
            if parameter.pad_h or parameter.pad_w:
                pads = [parameter.pad_h, parameter.pad_w]
            if weight.shape[-2:] == (1, 1) and max(pads[:2]):
                weight = np.pad(weight, [(0, 0)] * (weight.ndim - 2) + [(1, 1)] * 2)
                pads = [pad + 1 for pad in pads]
            if weight.shape != layer.blobs[0].shape:
                for field in ("dilation", "kernel_size", "kernel_h", "kernel_w", "pad"):
                    parameter.ClearField(field)
                parameter.kernel_h, parameter.kernel_w = weight.shape[-2:]
                parameter.pad_h, parameter.pad_w = pads[:2]
                blobs = (weight, *layer.blobs[1:])
        pieces += _unmerged(Piece(single, blobs))
    return pieces


def _unmerged(deconvolution: Piece) -> list[Piece]:
    """A Deconvolution that OpenCV merges with no layer after it, if it has groups."""
    message = deconvolution.layer
    if message.convolution_param.group == 1:
        return [deconvolution]
    (top,) = message.top
    message.top[:] = [f"{top}/merged"]
    return [deconvolution, _apart(f"{top}/apart", message.top[0], top, 4)]


def _spread(weight: F32, dilation: Sequence[int]) -> F32:
    """A kernel with zeros where a dilation steps over pixels."""
    steps = dilation[0], dilation[1]
    size = [step * (length - 1) + 1 for step, length in zip(steps, weight.shape[-2:], strict=True)]
    wide = np.zeros((*weight.shape[:-2], *size), np.float32)
    wide[..., :: steps[0], :: steps[1]] = weight
    return wide


def _scale(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV can't read a scale without an axis: a Power multiplies and adds.

    It merges a Scale into the convolution before it as if the axis were that of the channels, and
    does not count an axis from the end. A Permute that changes nothing keeps both apart.
    """
    scale = message.scale_param
    if len(layer.bottoms) != 1 or not layer.blobs:
        return [Piece(message)]
    if not scale.num_axes:
        factor, *shift = (float(blob.reshape(-1)[0]) for blob in layer.blobs)
        name, bottom, top = f"{layer.name}/power", layer.bottoms[0], layer.tops[0]
        return [_power(name, bottom, top, scale=factor, shift=sum(shift))]
    return _on_its_axis(Piece(message), shapes[layer.bottoms[0]])


def _on_its_axis(piece: Piece, shape: Shape) -> list[Piece]:
    """A Scale layer that stays one, with an axis counted from the start."""
    message = piece.layer
    rank = len(shape)
    message.scale_param.axis %= rank
    if message.scale_param.axis == 1 and message.scale_param.num_axes == 1:
        return [piece]
    (bottom,) = message.bottom
    between = f"{message.name}/apart"
    message.bottom[:] = [between]
    return [_apart(between, bottom, between, rank), piece]


def _apart(name: str, bottom: str, top: str, rank: int) -> Piece:
    """A Permute that changes nothing, over which OpenCV merges no layers."""
    message = caffe_pb2.LayerParameter(name=name, type="Permute", bottom=[bottom], top=[top])
    message.permute_param.order.extend(range(rank))
    return Piece(message)


def _batch_norm(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV reads NVIDIA Caffe's blobs in the order of version 0.16 alone."""
    blobs = layer.blobs if message.batch_norm_param.scale_bias else ()
    return [Piece(message, blobs)]


def _bias(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV lacks Bias: a Scale by ones adds the blob, an Eltwise a bottom of the same shape."""
    bias = message.bias_param
    if len(layer.bottoms) == 2:
        if shapes[layer.bottoms[0]] != shapes[layer.bottoms[1]]:
            return [Piece(message)]
        message.ClearField("bias_param")
        message.type = "Eltwise"
        return [Piece(message)]
    if not bias.num_axes and layer.blobs:
        shift = float(layer.blobs[0].reshape(-1)[0])
        return [_power(f"{layer.name}/power", layer.bottoms[0], layer.tops[0], shift=shift)]
    message.type = "Scale"
    scale = message.scale_param
    scale.axis, scale.num_axes, scale.bias_term = bias.axis, bias.num_axes, True
    message.ClearField("bias_param")
    ones = tuple(np.ones_like(blob) for blob in layer.blobs)
    return _on_its_axis(Piece(message, ones + layer.blobs), shapes[layer.bottoms[0]])


def _prelu(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV can't read a slope without an axis."""
    if layer.blobs and layer.blobs[0].ndim == 0:
        return [Piece(message, (layer.blobs[0].reshape(1),))]
    return [Piece(message)]


def _relu(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores `relu6`."""
    if message.relu_param.relu6:
        message.ClearField("relu_param")
        message.type = "ReLU6"
    return [Piece(message)]


def _pooling(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV knows `ceil_mode` of the forks' three fields for one thing."""
    pooling = message.pooling_param
    if pooling.round_mode == caffe_pb2.PoolingParameter.FLOOR or pooling.torch_pooling:
        pooling.ceil_mode = False
    for field in ("round_mode", "torch_pooling"):
        pooling.ClearField(field)
    return [Piece(message)]


def _split(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV's Split has as many tops as readers: each top becomes an identity of its own."""
    return [_identity(f"{layer.name}/{top}", layer.bottoms[0], top) for top in layer.tops]


def _tile(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV's Tile takes other parameters: a Concat repeats the bottom."""
    axis, tiles = message.tile_param.axis, message.tile_param.tiles
    message.ClearField("tile_param")
    message.type, message.concat_param.axis = "Concat", axis
    message.bottom[:] = list(layer.bottoms) * tiles
    return [Piece(message)]


def _upsample(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV lacks Upsample: a Deconvolution with ones repeats each pixel."""
    if len(layer.bottoms) != 1:
        return [Piece(message)]
    before, after = shapes[layer.bottoms[0]], shapes[layer.tops[0]]
    channels = int(before[1])
    steps = [int(after[axis]) // int(before[axis]) for axis in (2, 3)]
    message.ClearField("upsample_param")
    message.type = "Deconvolution"
    parameter = message.convolution_param
    parameter.num_output = parameter.group = channels
    parameter.bias_term = False
    parameter.kernel_h, parameter.kernel_w = parameter.stride_h, parameter.stride_w = steps
    return _unmerged(Piece(message, (np.ones((channels, 1, *steps), np.float32),)))


def _dropout(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores `scale_train: false`, which scales down instead of up in training."""
    dropout = message.dropout_param
    if dropout.scale_train:
        return [Piece(message)]
    share = 1 - dropout.dropout_ratio
    return [_power(layer.name, layer.bottoms[0], layer.tops[0], scale=share)]


def _permute(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV wants every axis in `order`; Caffe lets those left out follow."""
    order = message.permute_param.order
    order.extend(axis for axis in range(len(shapes[layer.bottoms[0]])) if axis not in set(order))
    return [Piece(message)]


def _concat(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores the old name of `axis`."""
    concat = message.concat_param
    if concat.HasField("concat_dim"):
        concat.axis = concat.concat_dim
        concat.ClearField("concat_dim")
    return [Piece(message)]


def _slice(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores the old name of `axis`, and refuses to make one part."""
    parameter = message.slice_param
    if parameter.HasField("slice_dim"):
        parameter.axis = parameter.slice_dim
        parameter.ClearField("slice_dim")
    if len(layer.tops) == 1:
        return [_identity(layer.name, layer.bottoms[0], layer.tops[0])]
    return [Piece(message)]


def _normalize(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV has other defaults, and lacks the first name, NormalizeBBox.

    It can't read a scale for each channel across_spatial: a Scale layer multiplies by it.
    """
    message.type = "Normalize"
    norm = message.norm_param
    norm.across_spatial, norm.channel_shared = norm.across_spatial, norm.channel_shared
    norm.eps = norm.eps
    if not norm.across_spatial or norm.channel_shared or not layer.blobs:
        return [Piece(message)]
    (top,) = layer.tops
    norm.channel_shared, message.top[:] = True, [f"{top}/unit"]
    scale = caffe_pb2.LayerParameter(
        name=f"{layer.name}/scale", type="Scale", bottom=[f"{top}/unit"], top=[top]
    )
    return [Piece(message, (np.ones(1, np.float32),)), Piece(scale, (layer.blobs[0].reshape(-1),))]


def _interp(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV lacks `shrink_factor`: it gets the size."""
    interp = message.interp_param
    for field in ("shrink_factor", "zoom_factor"):
        interp.ClearField(field)
    interp.height, interp.width = (int(size) for size in shapes[layer.tops[0]][2:])
    return [Piece(message)]


REWRITES: Mapping[str, Rewrite] = {
    "Axpy": _axpy,
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "Concat": _concat,
    "Convolution": _convolution,
    "ConvolutionDW": _convolution,
    "ConvolutionDepthwise": _convolution,
    "Deconvolution": _deconvolution,
    "DepthwiseConv": _convolution,
    "DepthwiseConvolution": _convolution,
    "DetectionOutput": _detection_output,
    "Dropout": _dropout,
    "InnerProduct": _inner_product,
    "Interp": _interp,
    "LRN": _lrn,
    "Log": _log,
    "Normalize": _normalize,
    "NormalizeBBox": _normalize,
    "PReLU": _prelu,
    "Permute": _permute,
    "Pooling": _pooling,
    "PriorBox": _prior_box,
    "ReLU": _relu,
    "Scale": _scale,
    "Slice": _slice,
    "Split": _split,
    "Swish": _swish,
    "Tile": _tile,
    "Upsample": _upsample,
}
"""How to write what OpenCV reads differently, by layer type."""
