"""The registry lists what is documented, and documents what it lists."""

import inspect
import re

import pytest

from convert.layers.registry import handler, handlers, layer_types

CONTRACT = [
    *("Input", "Convolution", "Deconvolution", "BatchNorm", "Scale", "Bias", "ReLU", "ReLU6"),
    *("PReLU", "ELU", "Sigmoid", "TanH", "AbsVal", "Power", "Exp", "Log", "Pooling"),
    *("InnerProduct", "Dropout", "Softmax", "Eltwise", "Concat", "Slice", "Split", "Crop"),
    *("Permute", "Flatten", "Reshape", "Normalize", "LRN", "Interp", "Upsample", "ArgMax"),
    *("Reduction", "Tile", "Silence", "PriorBox", "DetectionOutput"),
]


@pytest.mark.parametrize("layer_type", CONTRACT)
def test_every_layer_of_the_contract_has_a_handler(layer_type: str) -> None:
    assert layer_type in handlers()


@pytest.mark.parametrize("layer_type", handlers())
def test_every_handler_says_what_caffe_computes_and_where(layer_type: str) -> None:
    doc = inspect.getdoc(handlers()[layer_type].translate)
    assert doc is not None
    assert handlers()[layer_type].summary.endswith(".")
    assert re.search(r"\w+_layer\.([ch]pp|cu)", doc)


def test_types_are_listed_in_alphabetical_order() -> None:
    assert list(layer_types()) == sorted(layer_types())


def test_a_type_has_one_handler() -> None:
    relu = handlers()["ReLU"].translate
    with pytest.raises(ValueError, match="ReLU has two handlers"):
        handler("ReLU")(relu)


def test_types_that_are_refused_are_not_listed() -> None:
    refused = {name for name, found in handlers().items() if found.refuses}
    assert {"Python", "Region", "Yolov3DetectionOutput"} <= refused
    assert refused.isdisjoint(layer_types())
