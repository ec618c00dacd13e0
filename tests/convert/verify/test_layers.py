"""Rare layers, each in a network that is verified, and refused with a wrong weight."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike
from onnx import numpy_helper

from convert.report import Status
from convert.verify import verify
from convert.verify.numpy_reference import NAME
from geometry.arrays import F64

Make = Callable[..., Any]
Blobs = Mapping[str, Sequence[ArrayLike]]
RANDOM = np.random.default_rng(3)


def normal(*shape: int) -> F64:
    return RANDOM.normal(0, 0.5, shape)


def layer(
    kind: str, parameter: str = "", bottoms: str = "c", tops: str = "x", name: str = "x"
) -> str:
    blobs = " ".join(f'bottom: "{blob}"' for blob in bottoms.split())
    blobs += " " + " ".join(f'top: "{blob}"' for blob in tops.split())
    return f'layer {{ name: "{name}" type: "{kind}" {blobs} {parameter} }}\n'


def declared(**shapes: Sequence[int]) -> str:
    return "".join(
        f'input: "{name}" input_shape {{ {" ".join(f"dim: {size}" for size in shape)} }}\n'
        for name, shape in shapes.items()
    )


IMAGE = (1, 3, 9, 8)
SEQUENCE = declared(data=(6, 2, 5))
CONT = declared(cont=(6, 2))
THREE = "recurrent_param { num_output: 3 }"
LSTM = [normal(12, 5), normal(12), normal(12, 3)]
COLUMNS = layer(
    "Permute", "permute_param { order: 3 order: 0 order: 1 order: 2 }", tops="p", name="p"
)
PROPOSAL = (
    layer("Convolution", "convolution_param { num_output: 4 kernel_size: 1 }", "c", "sc", "sc")
    + layer("Sigmoid", "", "sc", "s", "s")
    + layer("Convolution", "convolution_param { num_output: 8 kernel_size: 1 }", "c", "de", "de")
    + layer(
        "Proposal",
        "proposal_param { feat_stride: 1 base_size: 4 min_size: 1 ratio: 1 scale: 0.5 scale: 1 "
        "pre_nms_topn: 50 post_nms_topn: 7 nms_thresh: 0.6 }",
        "s de im_info",
        "x y",
    )
)
CASES: dict[str, tuple[str | None, str, Blobs]] = {
    "BN": (None, layer("BN"), {"x": [normal(6), normal(6), normal(6), abs(normal(6)) + 0.1]}),
    "BNLL": (None, layer("BNLL"), {}),
    "Clip": (None, layer("Clip", "clip_param { min: -0.5 max: 0.7 }"), {}),
    "Swish": (None, layer("Swish", "swish_param { beta: 0.5 }"), {}),
    "HardSwish": (None, layer("HardSwish"), {}),
    "Mish": (None, layer("Mish"), {}),
    "MVN": (None, layer("MVN", "mvn_param { across_channels: true }"), {}),
    "Threshold": (None, layer("Threshold"), {}),
    "L2Norm": (None, layer("L2Norm", "l2norm_param { axis: 1 }"), {}),
    "Local": (
        None,
        layer("Local", "local_param { num_output: 4 kernel_size: 3 }"),
        {"x": [normal(4, 1, 54, 42), normal(1, 1, 4, 42)]},
    ),
    "Local by convolution_param": (
        None,
        layer("Local", "convolution_param { num_output: 4 kernel_size: 3 }"),
        {"x": [normal(4, 1, 54, 42), normal(1, 1, 4, 42)]},
    ),
    "FlowWarp": (
        None,
        layer("Convolution", "convolution_param { num_output: 2 kernel_size: 1 }", "c", "f", "f")
        + layer("FlowWarp", "", "c f"),
        {"f": [normal(2, 6, 1, 1), normal(2)]},
    ),
    "Correlation": (
        None,
        layer("TanH", "", "c", "t", "t")
        + layer(
            "Correlation",
            "correlation_param { kernel_size: 3 max_displacement: 2 pad: 3 stride_2: 2 }",
            "c t",
        ),
        {},
    ),
    "Correlation by differences": (
        None,
        layer("TanH", "", "c", "t", "t")
        + layer(
            "Correlation",
            "correlation_param { kernel_size: 1 max_displacement: 1 pad: 1 "
            "correlation_type: SUBTRACT }",
            "c t",
        ),
        {},
    ),
    "ChannelNorm": (None, layer("ChannelNorm"), {}),
    "Resample": (None, layer("Resample", "resample_param { height: 5 width: 9 }"), {}),
    "DataAugmentation": (
        None,
        layer("DataAugmentation", "augmentation_param { recompute_mean: 9 mean_per_pixel: false }"),
        {"x": [np.full((1, 1, 1, 1), 9, np.float32), normal(1, 6, 2, 2), normal(1, 6, 1, 1)]},
    ),
    "DataAugmentation of pixels": (
        None,
        layer("DataAugmentation", "augmentation_param { recompute_mean: 9 }"),
        {"x": [np.full((1, 1, 1, 1), 9, np.float32), normal(1, 6, 9, 8), normal(1, 6, 1, 1)]},
    ),
    "DataAugmentation without a stored mean": (None, layer("DataAugmentation"), {}),
    "ROIPooling": (
        declared(data=IMAGE, rois=(4, 5)),
        layer("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 3 }", "c rois"),
        {},
    ),
    "PSROIPooling": (
        declared(data=IMAGE, rois=(4, 5)),
        layer("Concat", "", "c c", "d", "d")
        + layer(
            "PSROIPooling",
            "psroi_pooling_param { output_dim: 3 group_size: 2 spatial_scale: 1 }",
            "d rois",
        ),
        {},
    ),
    "ROIAlign": (
        declared(data=IMAGE, rois=(4, 5)),
        layer(
            "ROIAlign",
            "roi_align_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 sampling_ratio: 2 }",
            "c rois",
        ),
        {},
    ),
    "Proposal": (
        declared(data=IMAGE, im_info=(1, 3)),
        PROPOSAL,
        {"sc": [normal(4, 6, 1, 1) * 0.1, normal(4)], "de": [normal(8, 6, 1, 1) * 0.1, normal(8)]},
    ),
    "LSTM over columns": (
        None,
        COLUMNS + layer("LSTM", THREE, "p"),
        {"x": [normal(12, 54), normal(12), normal(12, 3)]},
    ),
    "Lstm over columns": (
        None,
        COLUMNS + layer("Lstm", "lstm_param { num_output: 3 }", "p"),
        {"x": [normal(12, 54), normal(12, 3), normal(12)]},
    ),
    "LSTM over columns with cont": (
        declared(data=IMAGE, cont=(8, 1)),
        COLUMNS + layer("LSTM", THREE, "p cont"),
        {"x": [normal(12, 54), normal(12), normal(12, 3)]},
    ),
}
ALONE: dict[str, tuple[str, str, Blobs]] = {
    "LSTM": (SEQUENCE, layer("LSTM", THREE, "data"), {"x": LSTM}),
    "LSTM with cont": (SEQUENCE + CONT, layer("LSTM", THREE, "data cont"), {"x": LSTM}),
    "Lstm": (
        SEQUENCE,
        layer("Lstm", "lstm_param { num_output: 3 }", "data"),
        {"x": [normal(12, 10), normal(12, 3), normal(12)]},
    ),
    "RNN": (
        SEQUENCE + CONT,
        layer("RNN", THREE, "data cont"),
        {"x": [normal(3, 5), normal(3), normal(3, 3), normal(3, 3), normal(3)]},
    ),
    "CTCGreedyDecoder": (
        SEQUENCE + CONT,
        layer("CTCGreedyDecoder", "", "data cont", "x y"),
        {},
    ),
    "Convolution3D": (
        declared(data=(1, 2, 4, 6, 6)),
        layer(
            "Convolution3D",
            "convolution_param { num_output: 3 kernel_size: 3 kernel_depth: 3 pad: 1 "
            "temporal_pad: 1 stride: 2 }",
            "data",
        ),
        {"x": [normal(3, 2, 3, 3, 3), normal(1, 1, 1, 1, 3)]},
    ),
    "Pooling3D": (
        declared(data=(1, 2, 4, 6, 6)),
        layer(
            "Convolution3D",
            "convolution_param { num_output: 3 kernel_size: 1 kernel_depth: 1 }",
            "data",
            "v",
            "v",
        )
        + layer(
            "Pooling3D",
            "pooling_param { pool: AVE kernel_size: 3 kernel_depth: 2 pad: 1 stride: 2 "
            "temporal_stride: 2 }",
            "v",
        ),
        {"v": [normal(3, 2, 1, 1, 1), normal(1, 1, 1, 1, 3)]},
    ),
    "InnerProduct": (
        declared(data=(1, 20)),
        layer("InnerProduct", "inner_product_param { num_output: 5 }", "data"),
        {"x": [normal(5, 20), normal(5)]},
    ),
}


def built(make: Make, name: str) -> Any:
    if name in ALONE:
        header, layers, blobs = ALONE[name]
        return make(layers, blobs, alone=True, header=header)
    header_or_none, layers, blobs = CASES[name]
    more = {} if header_or_none is None else {"header": header_or_none}
    return make(layers, blobs, **more)


def spoil(model: onnx.ModelProto) -> None:
    """Change the largest weight of the file by a hundredth."""
    tensors = [tensor for tensor in model.graph.initializer if tensor.data_type == 1]
    largest = max(tensors, key=lambda tensor: numpy_helper.to_array(tensor).size)
    array = numpy_helper.to_array(largest) * np.float32(1.01)
    largest.CopyFrom(numpy_helper.from_array(array, largest.name))


@pytest.mark.parametrize("name", [*CASES, *ALONE])
def test_a_layer_is_verified(make: Make, name: str) -> None:
    case = built(make, name)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    assert found.references


@pytest.mark.parametrize("name", [name for name in (*CASES, *ALONE) if name != "CTCGreedyDecoder"])
def test_a_wrong_weight_is_refused(make: Make, name: str) -> None:
    case = built(make, name)
    spoil(case.built.model)
    assert verify(case.built, case.weights).status is Status.FAILED


@pytest.mark.parametrize("name", ["BN", "LSTM", "RNN", "ROIAlign", "CTCGreedyDecoder"])
def test_numpy_is_the_reference_for_layers_that_opencv_lacks(make: Make, name: str) -> None:
    case = built(make, name)
    assert NAME in verify(case.built, case.weights).references
