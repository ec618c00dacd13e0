"""Which layer types have a formula in NumPy."""

import pytest

from convert.layers.registry import handlers
from convert.verify.reference.registry import formula, formulas

WITHOUT = {
    "DetectionOutput": "convert.verify.detections computes it",
    "Input": "it computes nothing",
    "Python": "it is refused",
}


def test_every_layer_that_is_converted_has_a_formula() -> None:
    assert set(handlers()) - set(formulas()) == set(WITHOUT)


def test_no_formula_is_for_a_layer_that_is_not_converted() -> None:
    assert set(formulas()) <= set(handlers())


def test_a_type_has_one_formula() -> None:
    with pytest.raises(ValueError, match="ReLU has two formulas"):
        formula("ReLU")(lambda layer, bottoms: bottoms[0])


def test_formulas_name_their_source_or_say_the_formula() -> None:
    assert all(known.compute.__doc__ for known in formulas().values())


def test_layers_whose_result_jumps_are_marked() -> None:
    jumping = {name for name, known in formulas().items() if known.jumps}
    assert {"ArgMax", "CTCGreedyDecoder", "Proposal", "ROIPooling", "Threshold"} <= jumping
    assert not jumping & {"Convolution", "ReLU", "Softmax", "Pooling"}
