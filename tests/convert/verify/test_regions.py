"""Regions name their pictures by number, which is another one in a batch than alone."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from convert.report import Comparison, Status
from convert.verify import verify

Make = Callable[..., Any]

POOLED = """layer { name: "pool" type: "ROIPooling" bottom: "c" bottom: "rois" top: "pool"
    roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 1 } }\n"""
FOUND = (
    """layer { name: "sc" type: "Convolution" bottom: "c" top: "sc"
        convolution_param { num_output: 4 kernel_size: 1 } }
    layer { name: "s" type: "Sigmoid" bottom: "sc" top: "s" }
    layer { name: "de" type: "Convolution" bottom: "c" top: "de"
        convolution_param { num_output: 8 kernel_size: 1 } }
    layer { name: "found" type: "Proposal" bottom: "s" bottom: "de" bottom: "im_info" top: "rois"
        proposal_param { feat_stride: 1 base_size: 4 min_size: 1 ratio: 1 scale: 0.5 scale: 1
                         pre_nms_topn: 50 post_nms_topn: 7 nms_thresh: 0.6 } }\n"""
    + POOLED
)
COPIED = 'layer { name: "x" type: "Split" bottom: "rois" top: "x" }\n'
SHRUNK = """layer { name: "x" type: "Power" bottom: "rois" top: "x"
    power_param { scale: 0.5 shift: 1 } }\n"""
SLICED = """layer { name: "x" type: "Slice" bottom: "rois" top: "number" top: "x"
    slice_param { axis: 1 slice_point: 1 } }\n"""
PICTURE = 'input: "data" input_shape { dim: 1 dim: 3 dim: 9 dim: 8 }\n'
SIZE = PICTURE + 'input: "im_info" input_shape { dim: 1 dim: 3 }\n'
GIVEN = PICTURE + 'input: "rois" input_shape { dim: 2 dim: 5 }\n'


def case_of(make: Make, header: str, layers: str) -> Any:
    random = np.random.default_rng(3)
    blobs: Mapping[str, Any] = {
        "sc": [random.normal(0, 0.05, (4, 6, 1, 1)), random.normal(0, 0.5, 4)],
        "de": [random.normal(0, 0.05, (8, 6, 1, 1)), random.normal(0, 0.5, 8)],
    }
    return make(layers, blobs, header=header)


def in_batches(comparisons: tuple[Comparison, ...], output: str) -> list[tuple[str, str]]:
    return [
        (item.input, item.reference)
        for item in comparisons
        if item.output == output and "batch" in item.input
    ]


@pytest.mark.parametrize("header_and_layers", [(SIZE, FOUND), (GIVEN, POOLED)])
@pytest.mark.parametrize("last", [COPIED, SHRUNK, SLICED])
def test_outputs_computed_from_regions_are_verified(
    make: Make, header_and_layers: tuple[str, str], last: str
) -> None:
    header, layers = header_and_layers
    case = case_of(make, header, layers + last)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    together, alike = "a batch of 3", "a batch of 3, all the same picture"
    assert in_batches(found.comparisons, "pool") == [(together, "the single picture")]
    numbered = "number" if last == SLICED else "x"
    assert in_batches(found.comparisons, numbered) == [
        (alike, "the single picture"),
        (together, alike),
    ]


def test_a_wrong_number_of_the_picture_is_refused(make: Make) -> None:
    case = case_of(make, SIZE, FOUND.replace(POOLED, "") + COPIED)
    forget_numbers(case.built.model, "rois")
    found = verify(case.built, case.weights)
    assert found.status is Status.FAILED
    assert {item.output for item in found.comparisons if not item.passed} == {"rois"}
    assert "rois on a batch of 3 against the single picture: difference 2" in found.reason


def test_an_output_that_mixes_the_pictures_of_a_batch_is_refused(make: Make) -> None:
    case = case_of(make, GIVEN, POOLED + COPIED)
    mix_rows(case.built.model, "x")
    found = verify(case.built, case.weights)
    assert found.status is Status.FAILED
    assert {item.output for item in found.comparisons if not item.passed} == {"x"}


def forget_numbers(model: onnx.ModelProto, regions: str) -> None:
    """Give each region the number 0, as a single picture has it."""
    graph = model.graph
    place, maker = next(
        (place, node) for place, node in enumerate(graph.node) if regions in node.output
    )
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "nought"))
    graph.node.insert(place, helper.make_node("Mul", [maker.input[0], "nought"], ["zeros"]))
    maker.input[0] = "zeros"


def mix_rows(model: onnx.ModelProto, output: str) -> None:
    """Subtract the mean of the picture's numbers, which is 0 where there is one picture."""
    graph = model.graph
    (maker,) = (node for node in graph.node if output in node.output)
    maker.output[0] = "kept"
    first = numpy_helper.from_array(np.asarray([0], np.int64), "first")
    graph.initializer.append(first)
    graph.node.extend(
        [
            helper.make_node("Gather", ["kept", "first"], ["numbers"], axis=1),
            helper.make_node("ReduceMean", ["numbers"], ["mean"], axes=[0, 1], keepdims=1),
            helper.make_node("Sub", ["kept", "mean"], [output]),
        ]
    )
