"""Results that are zero but for rounding: right files are verified, wrong ones refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from convert.report import Status
from convert.verify import verify
from convert.verify.inputs import FLAT, samples
from convert.verify.reference.registry import formulas
from convert.verify.references import References
from convert.verify.trial import Answers
from geometry.arrays import F64

Make = Callable[..., Any]
Spoil = Callable[[onnx.ModelProto], None]


def image(side: int) -> str:
    return f'input: "data" input_shape {{ dim: 1 dim: 3 dim: {side} dim: {side} }}\n'


def convolution(top: str) -> str:
    return f"""layer {{ name: "{top}" type: "Convolution" bottom: "data" top: "{top}"
        convolution_param {{ num_output: 4 kernel_size: 1 }} }}\n"""


def tiny(scale: float, kind: str) -> str:
    return f"""layer {{ name: "p" type: "Power" bottom: "data" top: "p"
            power_param {{ scale: {scale} }} }}
        layer {{ name: "x" type: "{kind}" bottom: "p" top: "x" }}\n"""


MVN = 'layer { name: "x" type: "MVN" bottom: "c" top: "x" }\n'
CENTRED = """layer { name: "x" type: "MVN" bottom: "data" top: "x"
        mvn_param { normalize_variance: false across_channels: true } }\n"""
DIFFERENCE = """layer { name: "x" type: "Eltwise" bottom: "c" bottom: "d" top: "x"
        eltwise_param { coeff: 1 coeff: -1 } }\n"""
AVERAGE = """layer { name: "a" type: "Pooling" bottom: "c" top: "a"
        pooling_param { pool: AVE kernel_size: 3 stride: 1 } }
    layer { name: "d" type: "Crop" bottom: "c" bottom: "a" top: "d"
        crop_param { axis: 2 offset: 1 } }
    layer { name: "x" type: "Eltwise" bottom: "d" bottom: "a" top: "x"
        eltwise_param { coeff: 1 coeff: -1 } }\n"""
POSITIVE_MEAN = """layer { name: "r" type: "ReLU" bottom: "x" top: "r" }
    layer { name: "y" type: "Pooling" bottom: "r" top: "y"
        pooling_param { pool: AVE global_pooling: true } }\n"""
AFTER_MVN = """layer { name: "y" type: "Convolution" bottom: "x" top: "y"
        convolution_param { num_output: 2 kernel_size: 3 pad: 1 } }\n"""


def weighted(*shape: int) -> F64:
    return np.random.default_rng(5).normal(0, 0.3, shape)


SHARED = [weighted(4, 3, 1, 1), np.full(4, 0.1)]
BLOBS = {"c": SHARED, "d": SHARED, "y": [weighted(2, 4, 3, 3), np.zeros(2)]}


def uneven(model: onnx.ModelProto) -> None:
    """Make later weights of each convolution larger by up to a thousandth, or more in the next."""
    for index, tensor in enumerate(model.graph.initializer, 1):
        array = numpy_helper.to_array(tensor)
        if array.ndim == 4:
            ramp = np.linspace(1, 1 + 0.001 * index, array.size, dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array * ramp.reshape(array.shape), tensor.name))


def swapped(model: onnx.ModelProto) -> None:
    """Give the convolution the channels of the picture the other way round."""
    (tensor,) = (item for item in model.graph.initializer if len(item.dims) == 4)
    array = numpy_helper.to_array(tensor)[:, ::-1]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def larger(model: onnx.ModelProto) -> None:
    """Make each number of the file larger by a thousandth."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor) * np.float32(1.001)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def steeper(model: onnx.ModelProto) -> None:
    (node,) = (node for node in model.graph.node if node.op_type == "Elu")
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("alpha", 1.01))


def mean_of_channels(model: onnx.ModelProto) -> None:
    """Take the mean of each channel instead of that of the image."""
    (node,) = (node for node in model.graph.node if node.op_type == "ReduceMean")
    for attribute in node.attribute:
        if attribute.name == "axes":
            attribute.ints[:] = [2, 3]


CASES: dict[str, tuple[str, str, Spoil]] = {
    "MVN": (image(20), convolution("c") + MVN, uneven),
    "MVN inside": (image(20), convolution("c") + MVN + AFTER_MVN, uneven),
    "mean of MVN": (image(60), convolution("c") + MVN + POSITIVE_MEAN, swapped),
    "MVN without variance": (image(300), CENTRED, mean_of_channels),
    "x - mean": (image(20), convolution("c") + AVERAGE, uneven),
    "x - x": (image(8), convolution("c") + convolution("d") + DIFFERENCE, uneven),
    "TanH": (image(16), tiny(1e-6, "TanH"), larger),
    "ELU": (image(16), tiny(1e-6, "ELU"), steeper),
}


@pytest.mark.parametrize("name", CASES)
def test_a_result_that_is_zero_up_to_rounding_is_verified(make: Make, name: str) -> None:
    header, layers, _ = CASES[name]
    case = make(layers, BLOBS, alone=True, header=header)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_result_of_the_same_network_is_refused(make: Make, name: str) -> None:
    header, layers, spoil = CASES[name]
    case = make(layers, BLOBS, alone=True, header=header)
    spoil(case.built.model)
    assert verify(case.built, case.weights).status is Status.FAILED


def rounding(case: Any, picture: str, *others: str) -> float | None:
    """The bound of x, if other blobs fail as well."""
    blobs = ["x", *others]
    feed = samples(case.built)[picture].feed
    references = References.of(case.built, case.weights, blobs, [], feed)
    answers = Answers(picture, {}, {}, {}, {}, {}, {})
    return references.rounded(answers, feed, blobs).rounding.get("x")


def test_rounding_that_outgrows_its_bottoms_counts_on_a_flat_picture_only(make: Make) -> None:
    # The first channel is constant in all pictures, so MVN makes noise of it. To allow that in
    # each picture would let any error pass.
    weights = SHARED[0].copy()
    weights[0] = 0
    blobs = {**BLOBS, "c": [weights, np.full(4, 0.1)]}
    case = make(convolution("c") + MVN, blobs, alone=True, header=image(20))
    assert rounding(case, "noise") is None
    assert (rounding(case, FLAT) or 0) > 1


def test_rounding_is_a_small_part_of_what_is_rounded(make: Make) -> None:
    layers = convolution("c") + convolution("d") + DIFFERENCE
    case = make(layers, BLOBS, alone=True, header=image(8))
    allowed = rounding(case, "noise")
    assert allowed is not None
    assert 0 < allowed < 1e-6 * 128


def test_a_network_that_is_too_large_for_numpy_gets_no_wider_bound(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.verify.numpy_reference.MOST_PRODUCTS", 1000)
    case = make(convolution("c") + MVN, BLOBS, alone=True, header=image(20))
    assert rounding(case, FLAT) is None


def test_large_values_of_another_blob_widen_no_bound(make: Make) -> None:
    weights = SHARED[0].copy()
    weights[0] = 0
    blobs = {**BLOBS, "c": [weights, np.full(4, 0.1)]}
    large = tiny(1e6, "TanH").replace('"x"', '"t"')
    case = make(convolution("c") + MVN + large, blobs, alone=True, header=image(20))
    assert rounding(case, "noise", "t") is None


def test_a_blob_without_a_formula_does_not_keep_another_from_its_bound(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = (
        convolution("c") + convolution("d") + DIFFERENCE + tiny(1, "TanH").replace('"x"', '"t"')
    )
    case = make(layers, BLOBS, alone=True, header=image(8))
    alone = rounding(case, "noise")
    known = {kind: each for kind, each in formulas().items() if kind != "TanH"}
    monkeypatch.setattr("convert.verify.numpy_reference.formulas", lambda: known)
    assert alone is not None
    assert (rounding(case, "noise", "t") or 0) > alone / 4
