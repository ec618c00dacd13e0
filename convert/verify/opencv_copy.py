"""The copy of a network that OpenCV gets: the same computation, in a form that OpenCV reads right.

OpenCV reads many prototxts differently from Caffe. It has other defaults, ignores some fields, and
lacks the names that forks gave to common layers. Each rewrite in `convert.verify.rewrites`
expresses what Caffe computes with other layers or fields, so that OpenCV computes the same. A
rewrite never uses the ONNX graph.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from google.protobuf import text_format
from google.protobuf.message import Message

from convert.caffe import blobs as encoding
from convert.caffe import caffe_pb2
from convert.caffe.depthwise import DEPTHWISE
from convert.caffe.network import Layer, Network
from convert.verify.rewrites import activations, affine, convolution, detection, rearranging
from convert.verify.rewrites.piece import Piece, Rewrite, Shapes, identity


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
        rewrite = REWRITES.get(layer.type)
        message = _cleaned(layer)
        made = rewrite(layer, message, shapes) if rewrite else [Piece(message)]
        made = [_with_shared(piece, layer) for piece in made]
        if len(layer.tops) > 1:
            # OpenCV counts a layer's tops by their readers, and cuts a Slice into as many parts.
            idle = [top for top in layer.tops if top not in read]
            made = _read_by_copies(made, idle)
        pieces += made
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
        pieces.append(identity(top, f"{top}/idle", top))
    return pieces


def _cleaned(layer: Layer) -> caffe_pb2.LayerParameter:
    """The layer without what only training or an engine needs, its values by their own names."""
    message = caffe_pb2.LayerParameter()
    message.CopyFrom(layer.parameter)
    for field in (
        "bottom", "top", "include", "exclude", "param", "blobs", "phase", "loss_weight",
        "propagate_down", "transform_param", "loss_param",
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


REWRITES: Mapping[str, Rewrite] = {
    "Axpy": affine.axpy,
    "BatchNorm": affine.batch_norm,
    "Bias": affine.bias,
    "Concat": rearranging.concat,
    "Convolution": convolution.convolution,
    "Deconvolution": convolution.deconvolution,
    "DetectionOutput": detection.detection_output,
    "Dropout": activations.dropout,
    "Eltwise": affine.eltwise,
    "InnerProduct": affine.inner_product,
    "Interp": rearranging.interp,
    "LRN": affine.lrn,
    "Log": activations.log,
    "Normalize": affine.normalize,
    "NormalizeBBox": affine.normalize,
    "PReLU": activations.prelu,
    "Permute": rearranging.permute,
    "Pooling": rearranging.pooling,
    "PriorBox": detection.prior_box,
    "ReLU": activations.relu,
    "Scale": affine.scale,
    "Slice": rearranging.slice_layer,
    "Split": rearranging.split,
    "Swish": activations.swish,
    "Tile": rearranging.tile,
    "Upsample": convolution.upsample,
    **dict.fromkeys(DEPTHWISE, convolution.convolution),
}
"""How to write what OpenCV reads differently, by layer type."""
