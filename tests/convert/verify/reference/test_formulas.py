"""Formulas against numbers worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import ArrayLike

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formulas
from geometry.arrays import F64

RAMP = np.arange(1, 10).reshape(1, 1, 3, 3)
"""1 to 9 in three rows."""
FOUR = np.arange(1, 5).reshape(1, 4, 1, 1)
"""Four channels of one pixel."""
SQUARES = np.arange(1, 17).reshape(1, 4, 2, 2)
"""Four channels of four pixels."""
TWO = np.asarray([[[[3.0]], [[4.0]]]])
"""Two channels of one pixel."""


def computed(
    kind: str, parameter: str, bottoms: Sequence[ArrayLike], blobs: Sequence[ArrayLike] = ()
) -> list[F64]:
    text = f'name: "x" type: "{kind}" top: "x" {parameter}'
    message = text_format.Parse(text, caffe_pb2.LayerParameter())
    arrays = tuple(np.asarray(blob, np.float32) for blob in blobs)
    names = tuple(f"b{index}" for index in range(len(bottoms)))
    layer = Layer("x", kind, 1, names, tuple(message.top), message, arrays)
    made = formulas()[kind].compute(layer, [np.asarray(bottom, np.float64) for bottom in bottoms])
    return [made] if isinstance(made, np.ndarray) else list(made)


@pytest.mark.parametrize(
    ("kind", "parameter", "bottoms", "blobs", "expected"),
    [
        ("AbsVal", "", [[[-2, 3]]], [], [2, 3]),
        ("ReLU", "relu_param { negative_slope: 0.5 }", [[[-2, 3]]], [], [-1, 3]),
        ("ReLU", "relu_param { relu6: true }", [[[-2, 3, 7]]], [], [0, 3, 6]),
        ("ReLU6", "", [[[-2, 3, 7]]], [], [0, 3, 6]),
        ("Clip", "clip_param { min: -1 max: 2 }", [[[-2, 1, 3]]], [], [-1, 1, 2]),
        ("PReLU", "", [[[[-2], [-4]]]], [[0.5, 0.25]], [[-1], [-1]]),
        ("ELU", "elu_param { alpha: 2 }", [[[-np.log(2), 3]]], [], [-1, 3]),
        ("Sigmoid", "", [[[0, np.log(3)]]], [], [0.5, 0.75]),
        ("TanH", "", [[[0, np.log(3)]]], [], [0, 0.8]),
        ("Power", "power_param { scale: 2 shift: 1 power: 2 }", [[[1, 2]]], [], [9, 25]),
        ("Exp", "exp_param { base: 2 scale: 2 shift: 1 }", [[[1, 2]]], [], [8, 32]),
        ("Log", "log_param { base: 10 scale: 2 shift: 1 }", [[[49.5]]], [], [2]),
        ("BNLL", "", [[[0, 800]]], [], [np.log(2), 800]),
        ("Swish", "swish_param { beta: 2 }", [[[0, 0.5 * np.log(3)]]], [], [0, 0.375 * np.log(3)]),
        ("HardSwish", "", [[[-4, 0, 1, 4]]], [], [0, 0, 4 / 6, 4]),
        ("Mish", "", [[[0, 50]]], [], [0, 50]),
        ("Threshold", "threshold_param { threshold: 2 }", [[[1, 2, 3]]], [], [0, 0, 1]),
        ("BatchNorm", "batch_norm_param { eps: 0 }", [[[[5], [7]]]], [[2, 6], [8, 2], [2]],
         [[2], [4]]),
        ("BN", "bn_param { eps: 0 }", [[[[5], [7]]]], [[2, 3], [1, 1], [1, 3], [4, 1]],
         [[5], [13]]),
        ("BN", "bn_param { bn_mode: INFERENCE }", [[[[5], [7]]]], [[2, 3], [1, 1]], [[11], [22]]),
        ("Scale", "scale_param { bias_term: true }", [[[[5], [7]]]], [[2, 3], [1, -1]],
         [[11], [20]]),
        ("Scale", "scale_param { axis: 2 }", [[[[5, 7]]]], [[2, 3]], [[10, 21]]),
        ("Bias", "", [[[[5], [7]]]], [[2, 3]], [[7], [10]]),
        ("Eltwise", "eltwise_param { coeff: 2 coeff: -1 }", [[[5]], [[7]]], [], [3]),
        ("Eltwise", "eltwise_param { operation: PROD }", [[[5]], [[7]]], [], [35]),
        ("Eltwise", "eltwise_param { operation: MAX }", [[[5]], [[7]]], [], [7]),
        ("Eltwise", "eltwise_param { operation: MAX coeff: 2 coeff: -1 }", [[[5]], [[7]]], [], [7]),
        ("Reduction", "reduction_param { axis: 1 operation: ASUM coeff: 2 }", [[[-5, 7]]], [], 24),
        ("Reduction", "reduction_param { axis: 1 operation: MEAN }", [[[-5, 7]]], [], 1),
        ("ArgMax", "argmax_param { axis: 1 top_k: 2 }", [[[5, 9, 9, 1]]], [], [2, 1]),
        ("ArgMax", "argmax_param { top_k: 2 out_max_val: true }", [[[5, 9, 8, 1]]], [],
         [[1, 2], [9, 8]]),
        ("Convolution", "convolution_param { num_output: 1 kernel_size: 2 }", [RAMP],
         [[[[[1, 2], [3, 4]]]], [10]], [[[47, 57], [77, 87]]]),
        ("Convolution",
         "convolution_param { num_output: 1 kernel_size: 2 dilation: 2 pad: 1 stride: 2 }",
         [RAMP], [[[[[1, 2], [3, 4]]]], [0]], [[[20, 15], [10, 5]]]),
        ("DepthwiseConvolution", "convolution_param { num_output: 2 kernel_size: 1 }", [TWO],
         [[[[[2]]], [[[3]]]], [0, 1]], [[[6]], [[13]]]),
        ("Deconvolution", "convolution_param { num_output: 1 kernel_size: 2 stride: 2 }",
         [[[[[1, 2]]]]], [[[[[1, 2], [3, 4]]]], [1]], [[[2, 3, 3, 5], [4, 5, 7, 9]]]),
        ("Deconvolution", "convolution_param { num_output: 1 kernel_size: 3 stride: 2 pad: 1 }",
         [[[[1, 2]]]], [[[[1, 10, 100]]], [1]], [[11, 103, 21]]),
        ("InnerProduct", "inner_product_param { num_output: 2 transpose: true }", [[[5, 7]]],
         [[[1, 2], [3, 4]], [0, 1]], [26, 39]),
        ("LRN", "lrn_param { k: 2 alpha: 3 beta: 1 local_size: 3 }", [TWO], [],
         [[[3 / 27]], [[4 / 27]]]),
        ("LRN", "lrn_param { norm_region: WITHIN_CHANNEL k: 2 alpha: 9 beta: 1 local_size: 3 }",
         [TWO], [], [[[3 / 10]], [[4 / 17]]]),
        ("Normalize", "norm_param { across_spatial: false eps: 0 }", [TWO], [[10]],
         [[[6]], [[8]]]),
        ("Normalize", "norm_param { eps: 0 channel_shared: true }", [[[[3, 4]]]], [[10]],
         [[6, 8]]),
        ("Normalize", "norm_param { eps: 0 channel_shared: false }", [[[3, 4]]], [[10, 20]],
         [6, 16]),
        ("NormalizeBBox", "normalize_bbox_param { across_spatial: false eps: 0 }", [TWO], [[10]],
         [[[6]], [[8]]]),
        ("L2Norm", "", [TWO], [], [[[0.6]], [[0.8]]]),
        ("MVN", "mvn_param { eps: 1 }", [[[[[1, 3]]]]], [], [[[-0.5, 0.5]]]),
        ("Softmax", "", [[[0, np.log(3)]]], [], [0.25, 0.75]),
        ("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", [RAMP], [], [[[5, 6], [8, 9]]]),
        ("Pooling", "pooling_param { kernel_size: 2 stride: 2 torch_pooling: true }", [RAMP], [],
         [[[5]]]),
        ("Pooling", "pooling_param { pool: AVE kernel_size: 2 stride: 2 pad: 1 }", [RAMP], [],
         [[[0.25, 1.25], [2.75, 7]]]),
        ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", [RAMP], [],
         [[[46 / 12, 45 / 9], [113 / 15, 9]]]),
        ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }", [[[[[1, 2], [-3, -4]]]]],
         [], [[[0]]]),
        ("SPP", "spp_param { pyramid_height: 2 }", [RAMP], [], [9, 1, 3, 7, 9]),
        ("Axpy", "", [TWO, TWO, TWO], [], [[[12]], [[20]]]),
        ("ShuffleChannel", "shuffle_channel_param { group: 2 }", [FOUR], [],
         [[[1]], [[3]], [[2]], [[4]]]),
        ("Reorg", "reorg_param { stride: 2 }", [SQUARES], [],
         np.reshape([1, 3, 9, 11, 2, 4, 10, 12, 5, 7, 13, 15, 6, 8, 14, 16], (16, 1, 1))),
        ("Reverse", "reverse_param { axis: 2 }", [RAMP], [], [[[7, 8, 9], [4, 5, 6], [1, 2, 3]]]),
        ("Flip", "", [RAMP], [], [[[3, 2, 1], [6, 5, 4], [9, 8, 7]]]),
        ("Transpose", "transpose_param { dim: 0 dim: 1 dim: 3 dim: 2 }", [RAMP], [],
         [[[1, 4, 7], [2, 5, 8], [3, 6, 9]]]),
        ("Parameter", "parameter_param { shape { dim: 1 dim: 2 } }", [], [[5, 6]], [5, 6]),
        ("DummyData", "dummy_data_param { shape { dim: 1 dim: 2 } data_filler { value: 3 } }", [],
         [], [3, 3]),
        ("Upsample", "upsample_param { scale: 2 }", [[[[[5, 6]]]], [[[[1, 6]]]]], [],
         [[[0, 5, 0, 0], [0, 0, 6, 0]]]),
        ("Interp", "interp_param { height: 1 width: 5 }", [[[[[1, 2, 3]]]]], [],
         [[[1, 1.5, 2, 2.5, 3]]]),
        ("Upsample", "upsample_param { scale: 2 }", [[[[[1, 2]]]]], [],
         [[[1, 1, 2, 2], [1, 1, 2, 2]]]),
        ("Tile", "tile_param { tiles: 2 }", [[[1, 2]]], [], [1, 2, 1, 2]),
        ("Permute", "permute_param { order: 0 order: 2 }", [[[[1, 2], [3, 4]]]],
         [], [[1, 3], [2, 4]]),
        ("Crop", "crop_param { axis: 2 offset: 1 }", [RAMP, np.zeros((1, 1, 2, 2))], [],
         [[[5, 6], [8, 9]]]),
        ("Correlation", "correlation_param { kernel_size: 1 max_displacement: 1 pad: 1 }",
         [TWO, TWO], [], np.asarray([0, 0, 0, 0, 12.5, 0, 0, 0, 0]).reshape(9, 1, 1)),
        ("FlowWarp", "", [RAMP, np.full((1, 2, 3, 3), 0.5)], [],
         [[[3, 4, 4.5], [6, 7, 7.5], [7.5, 8.5, 9]]]),
        ("ROIPooling", "roi_pooling_param { pooled_h: 1 pooled_w: 2 spatial_scale: 0.5 }",
         [RAMP, [[0, 0, 0, 2, 2]]], [], [[[4, 5]]]),
        ("PSROIPooling", "psroi_pooling_param { spatial_scale: 1 output_dim: 1 group_size: 1 }",
         [RAMP, [[0, 0, 0, 1, 1]]], [], [[[3]]]),
    ],
)  # fmt: skip
def test_a_formula_gives_the_number_worked_out_by_hand(
    kind: str,
    parameter: str,
    bottoms: list[ArrayLike],
    blobs: list[ArrayLike],
    expected: ArrayLike,
) -> None:
    (found,) = computed(kind, parameter, bottoms, blobs)
    np.testing.assert_allclose(found[0], np.asarray(expected), atol=1e-6)


def test_the_second_top_of_a_pooling_has_the_places_of_the_maxima() -> None:
    parameter = 'top: "places" pooling_param { kernel_size: 2 }'
    maxima, places = computed("Pooling", parameter, [RAMP])
    np.testing.assert_array_equal(maxima[0, 0], [[5, 6], [8, 9]])
    np.testing.assert_array_equal(places[0, 0], [[4, 5], [7, 8]])
