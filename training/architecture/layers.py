"""Single layers of the family, with the fillers and learning rates of the published files."""

from convert.caffe.caffe_pb2 import LayerParameter, ParamSpec

# MobileNet-SSD's BatchNorm epsilon; Caffe's own default is 1e-5.
BATCH_NORM_EPS = 0.001


def convolution(
    name: str,
    bottom: str,
    width: int,
    *,
    kernel: int,
    stride: int = 1,
    group: int = 1,
    bias: bool,
) -> LayerParameter:
    """A convolution with the name of its top, padded so that only its stride reduces the size."""
    layer = LayerParameter(name=name, type="Convolution", bottom=[bottom], top=[name])
    layer.param.append(ParamSpec(lr_mult=1, decay_mult=1))
    parameter = layer.convolution_param
    parameter.num_output = width
    parameter.bias_term = bias
    if kernel > 1:
        parameter.pad.append(kernel // 2)
    parameter.kernel_size.append(kernel)
    if stride != 1:
        parameter.stride.append(stride)
    if group != 1:
        parameter.group = group
    parameter.weight_filler.type = "msra"
    return layer


def batch_norm(top: str) -> list[LayerParameter]:
    """BatchNorm and Scale, both in place on `top`."""
    norm = LayerParameter(name=f"{top}/bn", type="BatchNorm", bottom=[top], top=[top])
    norm.batch_norm_param.eps = BATCH_NORM_EPS
    # Mean, variance and their factor are statistics, without gradients.
    norm.param.extend([ParamSpec(lr_mult=0, decay_mult=0)] * 3)
    scale = LayerParameter(name=f"{top}/scale", type="Scale", bottom=[top], top=[top])
    scale.param.append(ParamSpec(lr_mult=1, decay_mult=0))
    scale.param.append(ParamSpec(lr_mult=2, decay_mult=0))
    scale.scale_param.filler.value = 1
    scale.scale_param.bias_term = True
    scale.scale_param.bias_filler.value = 0
    return [norm, scale]


def relu(top: str) -> LayerParameter:
    """ReLU in place on `top`."""
    return LayerParameter(name=f"{top}/relu", type="ReLU", bottom=[top], top=[top])


def head_convolution(name: str, bottom: str, width: int, *, bias_stated: bool) -> LayerParameter:
    """The 3×3 convolution with bias that predicts a head's locations or confidences."""
    layer = convolution(name, bottom, width, kernel=3, bias=True)
    if not bias_stated:
        layer.convolution_param.ClearField("bias_term")
    layer.param.append(ParamSpec(lr_mult=2, decay_mult=0))
    layer.convolution_param.bias_filler.type = "constant"
    layer.convolution_param.bias_filler.value = 0
    return layer


def channels_last(name: str) -> list[LayerParameter]:
    """Permute and Flatten: [batch, C, height, width] to [batch, height * width * C]."""
    permuted, flat = f"{name}_perm", f"{name}_flat"
    permute = LayerParameter(name=permuted, type="Permute", bottom=[name], top=[permuted])
    permute.permute_param.order.extend([0, 2, 3, 1])
    return [permute, flatten(flat, permuted)]


def flatten(name: str, bottom: str) -> LayerParameter:
    """Flatten all axes but the batch."""
    layer = LayerParameter(name=name, type="Flatten", bottom=[bottom], top=[name])
    layer.flatten_param.axis = 1
    return layer


def concat(name: str, bottoms: list[str], axis: int) -> LayerParameter:
    """Concatenate the heads' outputs."""
    layer = LayerParameter(name=name, type="Concat", bottom=bottoms, top=[name])
    layer.concat_param.axis = axis
    return layer


def prior_box(name: str, bottom: str, sizes: tuple[float, ...], step: float) -> LayerParameter:
    """Square priors centred on each cell of `bottom`, with the variances of SSD."""
    layer = LayerParameter(name=name, type="PriorBox", bottom=[bottom, "data"], top=[name])
    parameter = layer.prior_box_param
    parameter.min_size.extend(sizes)
    parameter.flip = False
    parameter.clip = False
    parameter.variance.extend([0.1, 0.1, 0.2, 0.2])
    parameter.step = step
    parameter.offset = 0.5
    return layer
