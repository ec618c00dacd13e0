"""Which reference checks which blob; each reference refuses a wrong graph."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from convert.caffe.network import Layer
from convert.metadata import metadata
from convert.report import Comparison, Status, Verification
from convert.verify import numpy_reference, verify
from convert.verify.deviations import DEVIATIONS, deviations
from convert.verify.numpy_reference import NAME, NumpyError, NumpyReference
from convert.verify.reference import registry
from geometry.arrays import F64

Make = Callable[..., Any]

REDUCTION = """\
layer { name: "x" type: "Reduction" bottom: "c" top: "x"
        reduction_param { axis: 2 operation: MEAN } }
"""
"""OpenCV has no such layer."""
BEST = 'layer { name: "x" type: "ArgMax" bottom: "c" top: "x" argmax_param { axis: 1 } }\n'
MVN = 'layer { name: "x" type: "MVN" bottom: "c" top: "x" }\n'
CENTRED = """\
layer { name: "x" type: "MVN" bottom: "c" top: "x"
        mvn_param { normalize_variance: false across_channels: true } }
"""
CROPPED = """\
layer { name: "x" type: "Interp" bottom: "c" top: "x"
        interp_param { height: 9 width: 5 pad_beg: -1 } }
"""
SIGMOID = 'layer { name: "s" type: "Sigmoid" bottom: "c" top: "s" }\n'


def change(model: onnx.ModelProto, prefix: str, by: Callable[[Any], Any]) -> None:
    tensor = next(item for item in model.graph.initializer if item.name.startswith(prefix))
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(by(array), array.dtype), tensor.name))


def about(comparisons: tuple[Comparison, ...], output: str) -> set[str]:
    """The references that an output of single pictures was compared with."""
    return {
        item.reference
        for item in comparisons
        if item.output == output and "batch" not in item.input
    }


@pytest.mark.parametrize("layers", [REDUCTION, BEST])
def test_numpy_is_the_reference_if_opencv_lacks_a_layer(make: Make, layers: str) -> None:
    case = make(layers)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    assert found.references == (NAME,)
    assert about(found.comparisons, "x") == {NAME}


def test_each_reference_checks_its_outputs(make: Make) -> None:
    case = make(REDUCTION + SIGMOID)
    found = verify(case.built, case.weights)
    assert found.status is Status.VERIFIED
    opencv, numpy = found.references
    assert opencv.startswith("OpenCV ")
    assert (about(found.comparisons, "s"), about(found.comparisons, "x")) == ({opencv}, {numpy})


def test_a_layer_that_jumps_is_computed_from_a_bottom_that_is_compared_too(make: Make) -> None:
    case = make(BEST)
    found = verify(case.built, case.weights)
    assert about(found.comparisons, "c") == {NAME}


@pytest.mark.parametrize("layers", [REDUCTION, BEST, SIGMOID, CROPPED])
@pytest.mark.parametrize(
    ("prefix", "by"),
    [
        ("first/weight", lambda array: array * 1.001),
        ("first/weight", lambda array: array[:, ::-1]),
        ("first/weight", lambda array: array[::-1]),
        ("first/weight", lambda array: array.swapaxes(2, 3)),
        ("first/bias", lambda array: array + 0.003),
    ],
    ids=["scaled", "inputs swapped", "outputs swapped", "transposed", "shifted"],
)
def test_each_reference_refuses_wrong_weights(
    make: Make, layers: str, prefix: str, by: Callable[[Any], Any]
) -> None:
    case = make(layers)
    change(case.built.model, prefix, by)
    found = verify(case.built, case.weights)
    assert found.status is Status.FAILED
    assert "comparisons; first" in found.reason


@pytest.mark.parametrize("by", [lambda array: array[:, ::-1], lambda array: array[::-1]])
def test_wrong_weights_before_a_known_deviation_are_refused(
    make: Make, by: Callable[[Any], Any]
) -> None:
    case = make(MVN)
    change(case.built.model, "first/weight", by)
    assert verify(case.built, case.weights).status is Status.FAILED


def test_numpy_refuses_another_operation(make: Make) -> None:
    case = make(REDUCTION)
    (node,) = (item for item in case.built.model.graph.node if item.op_type == "ReduceMean")
    node.op_type = "ReduceMax"
    assert verify(case.built, case.weights).status is Status.FAILED


def test_numpy_refuses_another_order_of_equal_values(make: Make) -> None:
    case = make(BEST)
    change(case.built.model, "x/last", lambda array: array - 1)
    assert verify(case.built, case.weights).status is Status.FAILED


@pytest.mark.parametrize(
    ("layers", "note"),
    [
        (CROPPED, "layer x: OpenCV ignores pad_beg and pad_end"),
        (MVN, "layer x: OpenCV loses digits of a small variance"),
    ],
)
def test_numpy_overrules_opencv_where_it_is_known_to_deviate(
    make: Make, layers: str, note: str
) -> None:
    flat = {"first": [np.full((6, 3, 3, 3), 0.01), np.full(6, 100)]}
    case = make(layers, flat)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    notes = {item.note for item in found.comparisons if item.reference == NAME}
    assert notes == {note}
    assert NAME in found.references


def test_numpy_does_not_overrule_opencv_without_a_known_deviation(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.verify.deviations.DEVIATIONS", {})
    case = make(CROPPED)
    found = verify(case.built, case.weights)
    assert found.status is Status.FAILED
    assert "against OpenCV" in found.reason
    assert NAME not in found.references


def test_a_deviation_excuses_only_the_blobs_that_depend_on_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make(CROPPED + SIGMOID)
    change(case.built.model, "first/bias", lambda array: array + 0.01)
    found = verify(case.built, case.weights)
    assert found.status is Status.FAILED
    assert {item.output for item in found.comparisons if not item.passed} >= {"s", "x"}


@pytest.mark.parametrize(
    ("layers", "known"),
    [
        (SIGMOID, {}),
        (CROPPED, {"x": "OpenCV ignores pad_beg and pad_end"}),
        (CROPPED.replace("pad_beg: -1", ""), {}),
        (CENTRED, {"x": "OpenCV loses digits of the mean"}),
        (MVN, {"x": "OpenCV loses digits of a small variance"}),
        ('layer { name: "x" type: "LRN" bottom: "c" top: "x" lrn_param { k: 0 alpha: 1 } }',
         {"x": "OpenCV ignores k"}),
        ('layer { name: "x" type: "LRN" bottom: "c" top: "x" lrn_param { k: 2 } }', {}),
    ],
)  # fmt: skip
def test_deviations_are_listed_by_layer(make: Make, layers: str, known: dict[str, str]) -> None:
    built = make(layers).built
    assert deviations(built.network, built.shapes) == known


def test_each_deviation_says_where_opencv_deviates() -> None:
    assert all(deviation.__doc__ for deviation in DEVIATIONS.values())


def test_a_network_that_is_too_large_for_numpy_stays_unverified(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_reference, "MOST_PRODUCTS", 1000)
    case = make(REDUCTION)
    found = verify(case.built, case.weights)
    assert found.status is Status.UNVERIFIED
    assert found.reason.endswith("NumPy: the network is too large for NumPy")


def test_numpy_counts_products_once_for_each_pixel(make: Make) -> None:
    case = make(REDUCTION)
    count = 6 * 3 * 9 * (9 * 8)
    assert numpy_reference.products(case.built.network, case.built.shapes) == count


def test_a_formula_that_does_not_fit_one_picture_leaves_the_file_unverified(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(layer: Layer, bottoms: object) -> F64:
        raise ValueError("cannot reshape")

    unfit = replace(registry.formulas()["Reduction"], compute=fail)
    monkeypatch.setitem(registry._formulas, "Reduction", unfit)
    case = make(REDUCTION)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.UNVERIFIED, "layer x: cannot reshape")


def test_an_unknown_layer_is_named(make: Make) -> None:
    built = make(REDUCTION).built
    object.__setattr__(built.network.layers[-1], "type", "NobodysLayer")
    with pytest.raises(NumpyError, match="no formula for layers of type NobodysLayer"):
        NumpyReference.of(built.network, built.shapes, ["x"])


@pytest.mark.parametrize(
    ("shape", "axis"), [("dim: 4 dim: 2 dim: -1", 0), ("dim: 0 dim: -1 dim: 3", 0)]
)
def test_a_network_may_state_another_batch_than_1(make: Make, shape: str, axis: int) -> None:
    header = 'input: "data" input_shape { dim: 4 dim: 3 dim: 9 dim: 8 }\n'
    layers = f"""layer {{ name: "x" type: "Reshape" bottom: "c" top: "x"
        reshape_param {{ axis: {axis} shape {{ {shape} }} }} }}\n"""
    case = make(layers + REDUCTION.replace('"x"', '"z"'), header=header)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    assert len(found.references) == 2


def test_a_constant_may_have_the_stated_batch(make: Make) -> None:
    header = 'input: "data" input_shape { dim: 4 dim: 3 dim: 9 dim: 8 }\n'
    layers = """layer { name: "k" type: "DummyData" top: "k" dummy_data_param {
            shape { dim: 4 dim: 6 dim: 9 dim: 8 } data_filler { value: 2 } } }
        layer { name: "x" type: "Eltwise" bottom: "c" bottom: "k" top: "x" }"""
    case = make(layers, header=header)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    assert found.references == (NAME,)


def test_the_tops_of_a_split_may_be_the_outputs(make: Make) -> None:
    case = make('layer { name: "x" type: "Split" bottom: "c" top: "x" top: "y" }')
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    assert {"x", "y"} <= {item.output for item in found.comparisons}


def test_a_network_with_several_inputs_is_verified(make: Make) -> None:
    header = """input: "data" input_shape { dim: 1 dim: 3 dim: 9 dim: 8 }
        input: "more" input_shape { dim: 1 dim: 6 dim: 9 dim: 8 }\n"""
    layers = 'layer { name: "x" type: "Eltwise" bottom: "c" bottom: "more" top: "x" }'
    case = make(layers, header=header)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    change(case.built.model, "first/weight", lambda array: array * 1.001)
    assert verify(case.built, case.weights).status is Status.FAILED


def test_regions_lie_in_the_image_and_belong_to_their_picture(make: Make) -> None:
    header = """input: "data" input_shape { dim: 1 dim: 3 dim: 9 dim: 8 }
        input: "rois" input_shape { dim: 2 dim: 5 }\n"""
    layers = """layer { name: "x" type: "ROIPooling" bottom: "c" bottom: "rois" top: "x"
        roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 1 } }"""
    case = make(layers, header=header)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    assert any("batch" in item.input for item in found.comparisons)


@pytest.mark.parametrize(
    ("layers", "kinds"),
    [(SIGMOID, "opencv"), (REDUCTION, "numpy"), (REDUCTION + SIGMOID, "opencv,numpy")],
)
def test_the_metadata_name_the_references(make: Make, layers: str, kinds: str) -> None:
    case = make(layers)
    found = verify(case.built, case.weights)
    sources = {"prototxt": "a", "caffemodel": "b"}
    properties = metadata(case.built, "t", (), sources, found)
    assert properties["sfd.verified_by"] == kinds


def test_the_metadata_of_an_unverified_file_name_no_reference(make: Make) -> None:
    sources = {"prototxt": "a", "caffemodel": "b"}
    skipped = Verification(Status.UNVERIFIED, "verification was switched off")
    assert "sfd.verified_by" not in metadata(make(SIGMOID).built, "t", (), sources, skipped)
