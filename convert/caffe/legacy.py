"""Layers of a prototxt of any age, in the current (V2) form.

Source: src/caffe/util/upgrade_proto.cpp (UpgradeV0Net, UpgradeV1Net and the functions they call).
"""

from collections.abc import Sequence
from typing import NamedTuple

from convert.caffe import caffe_pb2
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.prototxt import Parsed

TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "ELTWISE": "Eltwise",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "SLICE": "Slice",
    "TANH": "TanH",
    "WINDOW_DATA": "WindowData",
    "THRESHOLD": "Threshold",
    # Forks that add to V1.
    "BN": "BN",
    "UPSAMPLE": "Upsample",
    "UNPOOLING": "Unpooling",
    "CONVOLUTION3D": "Convolution3D",
    "POOLING3D": "Pooling3D",
    "VIDEO_DATA": "VideoData",
    "INTERP": "Interp",
    "LSTM": "LSTM",
    "PRELU": "PReLU",
    "CROP": "Crop",
    "NORMALIZE": "Normalize",
    "RESHAPE": "Reshape",
    "DENSE_IMAGE_DATA": "DenseImageData",
    "IMAGE_SEG_DATA": "ImageSegData",
    "LOCAL": "Local",
    "ROI_POOLING": "ROIPooling",
    "SPP": "SPP",
}
"""V1's enum to V2's names (UpgradeV1LayerType)."""

_V0_TYPES = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}
"""V0's strings to V2's names (UpgradeV0LayerType)."""

_V0_FIELDS = {
    ("conv", "num_output"): "convolution_param.num_output",
    ("conv", "biasterm"): "convolution_param.bias_term",
    ("conv", "weight_filler"): "convolution_param.weight_filler",
    ("conv", "bias_filler"): "convolution_param.bias_filler",
    ("conv", "pad"): "convolution_param.pad",
    ("conv", "kernelsize"): "convolution_param.kernel_size",
    ("conv", "group"): "convolution_param.group",
    ("conv", "stride"): "convolution_param.stride",
    ("innerproduct", "num_output"): "inner_product_param.num_output",
    ("innerproduct", "biasterm"): "inner_product_param.bias_term",
    ("innerproduct", "weight_filler"): "inner_product_param.weight_filler",
    ("innerproduct", "bias_filler"): "inner_product_param.bias_filler",
    ("pool", "pad"): "pooling_param.pad",
    ("pool", "kernelsize"): "pooling_param.kernel_size",
    ("pool", "stride"): "pooling_param.stride",
    ("pool", "pool"): "pooling_param.pool",
    ("dropout", "dropout_ratio"): "dropout_param.dropout_ratio",
    ("lrn", "local_size"): "lrn_param.local_size",
    ("lrn", "alpha"): "lrn_param.alpha",
    ("lrn", "beta"): "lrn_param.beta",
    ("lrn", "k"): "lrn_param.k",
    ("concat", "concat_dim"): "concat_param.concat_dim",
    ("data", "cropsize"): "transform_param.crop_size",
    ("data", "batchsize"): "data_param.batch_size",
    ("images", "cropsize"): "transform_param.crop_size",
    ("images", "batchsize"): "image_data_param.batch_size",
    ("images", "new_height"): "image_data_param.new_height",
    ("images", "new_width"): "image_data_param.new_width",
}
"""Where V0's flat fields go that a network needs, by type (UpgradeV0LayerParameter)."""


class Entry(NamedTuple):
    """One layer of the text: its V2 form, the line on which it starts, and its wrong values."""

    parameter: caffe_pb2.LayerParameter
    line: int
    errors: tuple[Diagnostic, ...] = ()
    old: bool = False
    """Whether the text has it in the V0 or V1 form, as `layers`."""


class _Old(NamedTuple):
    """One layer of the text in its V1 form."""

    parameter: caffe_pb2.V1LayerParameter
    line: int
    errors: tuple[Diagnostic, ...]


def entries(
    parsed: Parsed[caffe_pb2.NetParameter],
) -> tuple[list[Entry], list[Diagnostic]]:
    """All layers of a prototxt in order, upgraded, and the problems of the upgrade."""
    net, lines = parsed.message, parsed.lines
    current = [
        Entry(layer, line, parsed.deferred.get(("layer", index), ()))
        for index, (layer, line) in enumerate(zip(net.layer, lines.get("layer", ()), strict=True))
    ]
    for entry in current:
        if entry.parameter.HasField("convolution_param"):
            dilate_holes(entry.parameter)
    if not net.layers:
        return current, []
    problems: list[Diagnostic] = []
    if current:
        text = "`layers` (the old form) and `layer` can't be in one file: upgrade the `layers`"
        problems.append(Diagnostic(text, lines["layers"][0]))
    old = [
        _Old(layer, line, parsed.deferred.get(("layers", index), ()))
        for index, (layer, line) in enumerate(zip(net.layers, lines["layers"], strict=True))
    ]
    upgraded = [
        Entry(upgrade(layer), line, errors, old=True)
        for layer, line, errors in _fold_padding(old, problems)
    ]
    return upgraded + current, problems


def dilate_holes(layer: caffe_pb2.LayerParameter) -> None:
    """Rewrite the `hole` of DeepLab's first version as the `dilation` of BVLC Caffe."""
    parameter = layer.convolution_param
    holes = [
        getattr(parameter, name) if parameter.HasField(name) else parameter.hole
        for name in ("hole_h", "hole_w")
    ]
    if not parameter.dilation and holes != [1, 1]:
        parameter.dilation.extend(holes)
    for name in ("hole", "hole_h", "hole_w"):
        parameter.ClearField(name)


def upgrade_type(old: caffe_pb2.V1LayerParameter) -> str:
    """The V2 name of the layer's type. A V0 name that Caffe never had stays as it is."""
    if old.HasField("layer"):
        return _V0_TYPES.get(old.layer.type, old.layer.type)
    return TYPES[caffe_pb2.V1LayerParameter.LayerType.Name(old.type)]


def upgrade(old: caffe_pb2.V1LayerParameter) -> caffe_pb2.LayerParameter:
    """The V2 form of a layer of 2014 (UpgradeV1LayerParameter), or of one of 2013 within it."""
    new = caffe_pb2.LayerParameter(
        name=old.name,
        type=upgrade_type(old),
        bottom=old.bottom,
        top=old.top,
        include=old.include,
        exclude=old.exclude,
        loss_weight=old.loss_weight,
        blobs=old.blobs,
    )
    for field, value in old.ListFields():
        if field.name.endswith("_param"):
            getattr(new, field.name).CopyFrom(value)
    rates, decays = old.blobs_lr, old.weight_decay
    if old.HasField("layer"):
        oldest = old.layer
        rates, decays = oldest.blobs_lr, oldest.weight_decay
        _upgrade_v0(oldest, new)
    for index in range(max(len(old.param), len(old.blob_share_mode), len(rates), len(decays))):
        spec = new.param.add()
        if index < len(old.param):
            spec.name = old.param[index]
        if index < len(old.blob_share_mode):
            permissive = old.blob_share_mode[index] == caffe_pb2.V1LayerParameter.PERMISSIVE
            modes = caffe_pb2.ParamSpec
            spec.share_mode = modes.PERMISSIVE if permissive else modes.STRICT
        if index < len(rates):
            spec.lr_mult = rates[index]
        if index < len(decays):
            spec.decay_mult = decays[index]
    if new.HasField("convolution_param"):
        dilate_holes(new)
    return new


def _upgrade_v0(old: caffe_pb2.V0LayerParameter, new: caffe_pb2.LayerParameter) -> None:
    new.name = old.name
    new.blobs.extend(old.blobs)
    for field, value in old.ListFields():
        target = _V0_FIELDS.get((old.type, field.name))
        if target is None:
            continue
        message, name = target.split(".")
        inner = getattr(new, message)
        if field.message_type is not None:
            getattr(inner, name).CopyFrom(value)
        elif inner.DESCRIPTOR.fields_by_name[name].is_repeated:
            getattr(inner, name).append(value)
        else:
            setattr(inner, name, value)


def _fold_padding(layers: Sequence[_Old], problems: list[Diagnostic]) -> list[_Old]:
    """V0's separate padding layers become the `pad` of what follows (UpgradeV0PaddingLayers)."""
    kept: list[_Old] = []
    paddings: dict[str, caffe_pb2.V1LayerParameter] = {}
    for entry in layers:
        layer = entry.parameter
        if layer.layer.type == "padding" and layer.bottom and layer.top:
            paddings[layer.top[0]] = layer
            problems += entry.errors
            continue
        for index, bottom in enumerate(layer.bottom):
            padding = paddings.get(bottom)
            if padding is None:
                continue
            if layer.layer.type not in ("conv", "pool"):
                text = "only a conv or pool layer can follow a padding layer"
                problems.append(Diagnostic(text, entry.line, layer=layer.layer.name))
            layer.layer.pad = padding.layer.pad
            layer.bottom[index] = padding.bottom[0]
        kept.append(entry)
    return kept
