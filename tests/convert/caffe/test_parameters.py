import pytest

from convert.caffe import parameters, prototxt
from convert.caffe.caffe_pb2 import NetParameter


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("power_param { power: 2 scale: 1e38 }", []),
        ("power_param { power: nan scale: inf shift: -inf }", ["power", "scale", "shift"]),
        ("eltwise_param { coeff: [1, nan, inf] }", ["coeff", "coeff"]),
        ("prior_box_param { min_size: 1e39 }", ["min_size"]),
        ("clip_param { min: -inf max: inf }", []),
        ("clip_param { min: nan max: nan }", ["min", "max"]),
        ("convolution_param { weight_filler { value: nan } }", ["weight_filler.value"]),
    ],
)
def test_numbers_that_are_not_finite_are_found_by_their_path(text: str, paths: list[str]) -> None:
    layer = prototxt.parse(f"layer {{ {text} }}", NetParameter).message.layer[0]
    head = text.partition(" ")[0]
    found = [path for path, _ in parameters.not_finite(layer)]
    assert found == [f"{head}.{path}" for path in paths]


def test_weights_are_left_to_the_reader_of_blobs() -> None:
    layer = prototxt.parse("layer { blobs { data: nan } }", NetParameter).message.layer[0]
    assert list(parameters.not_finite(layer)) == []
