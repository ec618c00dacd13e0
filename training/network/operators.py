"""Caffe's layers as torch modules that load and save Caffe's blobs."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from convert.caffe import caffe_pb2
from convert.caffe.depthwise import DEPTHWISE
from convert.caffe.network import Layer
from convert.layers.blobs import check_blobs
from convert.layers.convolution import read_window
from convert.layers.prior_box import prior_spec
from convert.layers.registry import LayerError
from geometry.arrays import F32
from geometry.priors import PriorSpec, priors

Blobs = tuple[F32, ...]
Build = Callable[[Layer, Layer | None, Sequence[int]], nn.Module]


class Convolution(nn.Conv2d):
    """Σ weight · window + bias per group."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    norms: "tuple[BatchNorm, ...]" = ()
    """The frozen BatchNorm that `merge` added, if any. It is not a submodule."""

    def forward(self, bottom: Tensor) -> Tensor:
        """[N, C, H, W]."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        for norm in self.norms:
            slope, intercept = norm.line()
            weight = weight * slope.reshape(-1, 1, 1, 1)
            bias = intercept if bias is None else torch.addcmul(intercept, bias, slope)
        assert not isinstance(self.padding, str)
        # In oneDNN, the gradient of a depthwise convolution is slower with stride 2 than with
        # stride 1. So it is computed with stride 1, and every second value is dropped.
        dense = self.training and self.groups == self.in_channels and self.stride == (2, 2)
        top = functional.conv2d(
            bottom,
            weight,
            bias,
            1 if dense else self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        # A view would keep the dropped values in memory until the backward pass.
        return top[..., ::2, ::2].clone() if dense else top

    def merge(self, norm: "BatchNorm") -> None:
        """From now on, also compute the frozen BatchNorm after this convolution."""
        self.norms = (norm,)

    def blobs(self) -> Blobs:
        """The weight [out, in / group, kh, kw] and, if there is one, the bias [out]."""
        weight = _array(self.weight)
        return (weight,) if self.bias is None else (weight, _array(self.bias))


class BatchNorm(nn.Module):
    """BatchNorm and the Scale layer after it, if any.

    Caffe keeps decayed sums of means and variances, and the decayed count `factor`. Here their
    ratio is kept, which moves by 1 / factor towards each batch (batch_norm_layer.cpp).
    """

    running_mean: Tensor
    running_var: Tensor
    factor: Tensor

    def __init__(
        self, channels: int, eps: float, fraction: float, *, scaled: bool, frozen: bool = False
    ) -> None:
        super().__init__()
        self.eps = eps
        self.fraction = fraction
        self.frozen = frozen
        """Whether the running statistics are also used in training."""
        self.merged = False
        """Whether the convolution before it computes this layer too."""
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.zeros(channels))
        self.register_buffer("factor", torch.zeros(()))
        self.weight = nn.Parameter(torch.ones(channels)) if scaled else None
        self.bias = nn.Parameter(torch.zeros(channels)) if scaled else None

    def forward(self, bottom: Tensor) -> Tensor:
        """[N, C, H, W]. In training, the statistics are the batch's own."""
        if self.merged:
            return bottom
        own = self.training and not self.frozen
        momentum = 0.0
        if own:
            self.factor.mul_(self.fraction).add_(1)
            momentum = 1 / float(self.factor)
        return functional.batch_norm(
            bottom,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            own,
            momentum,
            self.eps,
        )

    def line(self) -> tuple[Tensor, Tensor]:
        """Slope and intercept [C] of the normalisation by the running statistics."""
        slope = torch.rsqrt(self.running_var + self.eps)
        if self.weight is None or self.bias is None:
            return slope, -self.running_mean * slope
        slope = slope * self.weight
        return slope, self.bias - self.running_mean * slope

    def set_momentum(self, momentum: float) -> None:
        """From now on, move by `momentum` towards each batch."""
        self.fraction = 1 - momentum
        self.factor.fill_(1 / momentum)

    def blobs(self) -> Blobs:
        """The blobs of the BatchNorm layer: sums of means, sums of variances, their factor."""
        factor = self.factor
        sums = _array(self.running_mean * factor), _array(self.running_var * factor)
        return (*sums, _array(factor.reshape(1)))

    def scale_blobs(self) -> Blobs:
        """The blobs of the Scale layer: its weight and, if there is one, its bias."""
        assert self.weight is not None
        assert self.bias is not None
        weight = _array(self.weight)
        return (weight, _array(self.bias)) if self.bias.requires_grad else (weight,)


class Eltwise(nn.Module):
    """The weighted sum, the product or the maximum of its bottoms."""

    def __init__(self, operation: int, coefficients: Sequence[float]) -> None:
        super().__init__()
        self.operation = operation
        self.coefficients = tuple(coefficients)

    def forward(self, *bottoms: Tensor) -> Tensor:
        """All bottoms have the same shape."""
        parts = list(bottoms)
        if self.coefficients:
            parts = [part * factor for part, factor in zip(parts, self.coefficients, strict=True)]
        result = parts[0]
        for part in parts[1:]:
            match self.operation:
                case caffe_pb2.EltwiseParameter.SUM:
                    result = result + part
                case caffe_pb2.EltwiseParameter.PROD:
                    result = result * part
                case _:
                    result = torch.maximum(result, part)
        return result


class Concat(nn.Module):
    """The bottoms concatenated along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *bottoms: Tensor) -> Tensor:
        """The bottoms differ only along the axis."""
        return torch.cat(bottoms, dim=self.axis)


class Permute(nn.Module):
    """The axes in another order."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, bottom: Tensor) -> Tensor:
        """Axes that are missing in the order follow at the end, as in Caffe."""
        rest = [axis for axis in range(bottom.dim()) if axis not in self.order]
        return bottom.permute(*self.order, *rest)


class Flatten(nn.Module):
    """Axes `axis` to `end_axis` as one."""

    def __init__(self, axis: int, end_axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.end_axis = end_axis

    def forward(self, bottom: Tensor) -> Tensor:
        """Any shape."""
        return bottom.flatten(self.axis, self.end_axis)


class Reshape(nn.Module):
    """Another shape: 0 keeps an axis, -1 is inferred."""

    def __init__(self, parameter: caffe_pb2.ReshapeParameter) -> None:
        super().__init__()
        self.shape = tuple(parameter.shape.dim)
        self.axis = parameter.axis
        self.num_axes = parameter.num_axes

    def forward(self, bottom: Tensor) -> Tensor:
        """The axes before `axis` and after `axis + num_axes` stay."""
        first = self.axis if self.axis >= 0 else bottom.dim() + self.axis + 1
        last = bottom.dim() if self.num_axes == -1 else first + self.num_axes
        kept = [
            bottom.shape[first + index] if side == 0 else side
            for index, side in enumerate(self.shape)
        ]
        return bottom.reshape(*bottom.shape[:first], *kept, *bottom.shape[last:])


class PriorBox(nn.Module):
    """The priors of a feature map, computed once for each size of map and image."""

    def __init__(self, spec: PriorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.made: dict[tuple[int, int, int, int], Tensor] = {}

    def forward(self, cells: Tensor, image: Tensor) -> Tensor:
        """[1, 2, priors * 4]: corners in fractions of the image, then variances."""
        key = (cells.shape[3], cells.shape[2], image.shape[3], image.shape[2])
        if key not in self.made:
            boxes, variances = priors(self.spec, *key)
            both = np.stack([boxes.reshape(-1), variances.reshape(-1)])[None]
            self.made[key] = torch.from_numpy(both)
        return self.made[key]


def _convolution(layer: Layer, _: Layer | None, channels: Sequence[int]) -> nn.Module:
    parameter = layer.parameter.convolution_param
    window = read_window(layer)
    groups = channels[0] if layer.type in DEPTHWISE else parameter.group
    return Convolution(
        channels[0],
        parameter.num_output,
        window.kernel,
        window.stride,
        window.pad,
        window.dilation,
        groups,
        bias=parameter.bias_term,
    )


def _batch_norm(layer: Layer, scale: Layer | None, channels: Sequence[int]) -> nn.Module:
    parameter = layer.parameter.batch_norm_param
    return BatchNorm(
        channels[0],
        parameter.eps,
        parameter.moving_average_fraction,
        scaled=scale is not None,
        frozen=parameter.use_global_stats,
    )


@torch.no_grad()
def initialise(module: nn.Module, layer: Layer, scale: Layer | None) -> None:
    """Load the blobs of a layer and of the Scale layer merged into it, or fill the weights.

    Raises LayerError for blobs of wrong shapes and for unknown fillers.
    """
    if isinstance(module, Convolution):
        parameter = layer.parameter.convolution_param
        bias = module.bias
        if layer.blobs:
            shapes = [tuple(each.shape) for each in (module.weight, bias) if each is not None]
            check_blobs(layer, shapes)
            module.weight.copy_(torch.from_numpy(layer.blobs[0]).reshape(module.weight.shape))
            if bias is not None:
                bias.copy_(torch.from_numpy(layer.blobs[1]).reshape(-1))
            return
        _fill(module.weight, parameter.weight_filler)
        if bias is not None:
            _fill(bias, parameter.bias_filler)
    elif isinstance(module, BatchNorm):
        shape = tuple(module.running_mean.shape)
        if layer.blobs:
            check_blobs(layer, [shape, shape, (1,)])
            factor = float(layer.blobs[2].reshape(-1)[0])
            share = 0.0 if factor == 0 else 1 / factor
            module.factor.fill_(factor)
            module.running_mean.copy_(torch.from_numpy(layer.blobs[0].reshape(-1) * share))
            module.running_var.copy_(torch.from_numpy(layer.blobs[1].reshape(-1) * share))
        if scale is not None:
            _initialise_scale(module, scale, shape)


def _initialise_scale(module: BatchNorm, scale: Layer, shape: tuple[int, ...]) -> None:
    assert module.weight is not None
    assert module.bias is not None
    parameter = scale.parameter.scale_param
    # Without a bias in the prototxt, the layer only multiplies, and the bias here stays 0.
    module.bias.requires_grad_(parameter.bias_term)
    if scale.blobs:
        check_blobs(scale, [shape] * (2 if parameter.bias_term else 1))
        module.weight.copy_(torch.from_numpy(scale.blobs[0]).reshape(-1))
        if parameter.bias_term:
            module.bias.copy_(torch.from_numpy(scale.blobs[1]).reshape(-1))
        return
    if parameter.HasField("filler"):
        _fill(module.weight, parameter.filler)
    if parameter.bias_term:
        _fill(module.bias, parameter.bias_filler)


def _fill(target: Tensor, filler: caffe_pb2.FillerParameter) -> None:
    """Random or constant values as in `include/caffe/filler.hpp`."""
    fan_in = target[0].numel()
    fan_out = target.numel() // target.shape[1] if target.dim() > 1 else target.numel()
    norm = {0: fan_in, 1: fan_out, 2: (fan_in + fan_out) / 2}[filler.variance_norm]
    match filler.type:
        case "msra":
            target.normal_(0, (2 / norm) ** 0.5)
        case "xavier":
            bound = (3 / norm) ** 0.5
            target.uniform_(-bound, bound)
        case "gaussian":
            target.normal_(filler.mean, filler.std)
        case "uniform":
            target.uniform_(filler.min, filler.max)
        case "constant":
            target.fill_(filler.value)
        case _:
            known = "constant, gaussian, msra, uniform, xavier"
            raise LayerError(f"filler type {filler.type!r} is not supported; use one of {known}")


def _array(tensor: Tensor) -> F32:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def out_channels(module: nn.Module, channels: Sequence[int]) -> int:
    """Number of output channels of a module whose bottoms have `channels`."""
    if isinstance(module, Convolution):
        return module.out_channels
    return sum(channels) if isinstance(module, Concat) else channels[0]


BUILDERS: dict[str, Build] = {
    "Convolution": _convolution,
    **dict.fromkeys(DEPTHWISE, _convolution),
    "BatchNorm": _batch_norm,
    "ReLU": lambda layer, scale, channels: (
        nn.LeakyReLU(layer.parameter.relu_param.negative_slope, inplace=False)
        if layer.parameter.relu_param.negative_slope
        else nn.ReLU(inplace=False)
    ),
    "ReLU6": lambda layer, scale, channels: nn.ReLU6(),
    "Eltwise": lambda layer, scale, channels: Eltwise(
        layer.parameter.eltwise_param.operation, layer.parameter.eltwise_param.coeff
    ),
    "Concat": lambda layer, scale, channels: Concat(layer.parameter.concat_param.axis),
    "Permute": lambda layer, scale, channels: Permute(layer.parameter.permute_param.order),
    "Flatten": lambda layer, scale, channels: Flatten(
        layer.parameter.flatten_param.axis, layer.parameter.flatten_param.end_axis
    ),
    "Reshape": lambda layer, scale, channels: Reshape(layer.parameter.reshape_param),
    "Sigmoid": lambda layer, scale, channels: nn.Sigmoid(),
    "Softmax": lambda layer, scale, channels: nn.Softmax(layer.parameter.softmax_param.axis),
    "PriorBox": lambda layer, scale, channels: PriorBox(
        prior_spec(layer.parameter.prior_box_param)
    ),
}
