"""The protocol's JSON: what is taken, and what is refused in one line."""

import time
from typing import Any

import pytest

from service.errors import InvalidRequest, PayloadTooLarge
from service.openinference.messages import parse, parse_parameters


def test_a_request_is_read_with_its_defaults() -> None:
    request = parse(
        b'{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES"}],"model_name":"ignored"}'
    )
    assert (request.id, request.parameters, request.outputs) == (None, {}, [])
    assert request.inputs[0].data is None


def test_parameters_are_those_of_detect() -> None:
    query = parse_parameters({"min_score": 0.25, "max_faces": 3, "tiles": "auto"}).query()
    assert (query.min_score, query.max_faces, query.tiles) == (0.25, 3, True)


def test_a_number_may_be_text() -> None:
    given = parse_parameters(
        {"min_score": "0.25", "nms_iou": "0.5", "max_faces": "3", "min_size": "8", "timeout": "9"}
    )
    assert (given.min_score, given.nms_iou, given.max_faces) == (0.25, 0.5, 3)
    assert (given.min_size, given.timeout) == (8, 9)


@pytest.mark.parametrize("given", [True, False])
def test_binary_data_output_is_a_boolean(given: bool) -> None:
    assert parse_parameters({"binary_data_output": given}).binary_data_output is given


@pytest.mark.parametrize(
    "given", [{"priority": 3}, {"sequence_id": "a", "sequence_end": True}, {"triton_any": [1]}]
)
def test_parameters_for_models_with_state_are_ignored(given: dict[str, Any]) -> None:
    assert parse_parameters(given).query() == parse_parameters({}).query()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"min_skore": 1}, "the request parameters: min_skore: unknown parameter"),
        ({"crops": True}, "crops: unknown parameter"),
        ({"timeout": -1}, "timeout: "),
        ({"timeout": 2**63}, "timeout: "),
        ({"timeout": 0.5}, "timeout: "),
        ({"min_score": float("nan")}, "min_score: "),
        ({"binary_data_output": "maybe"}, "binary_data_output: "),
        ({"binary_data_output": "yes"}, "binary_data_output: "),
        ({"binary_data_output": 1}, "binary_data_output: "),
        ({"min_score": True}, "min_score: must be a number, not true or false"),
        ({"nms_iou": False}, "nms_iou: must be a number, not true or false"),
        ({"max_faces": True}, "max_faces: must be a number, not true or false"),
        ({"min_size": True}, "min_size: must be a number, not true or false"),
        ({"timeout": True}, "timeout: must be a number, not true or false"),
        ({"min_score": "true"}, "min_score: "),
    ],
)
def test_the_error_for_a_wrong_parameter_names_it(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_parameters(given)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [b"", b"{}", b"[]", b"\xff", b'{"inputs":[]}', b'{"inputs":[{}]}', b"[" * 100_000,
     b'{"inputs":[{"name":"x","shape":[-1],"datatype":"BYTES"}]}',
     b'{"inputs":[{"name":"x","shape":[1e400],"datatype":"BYTES"}]}',
     b'{"inputs":[{"name":1,"shape":[1],"datatype":"BYTES"}]}'],
)  # fmt: skip
def test_json_that_is_not_a_request_is_invalid_in_one_line(header: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(header)
    assert "\n" not in str(caught.value)


INPUT = b'{"name":"image","shape":[1],"datatype":"BYTES"}'


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b'{"inputs":[%b],"id":"a","id":"b"}' % INPUT, "id: is given twice, as 'a' and 'b'"),
        (b'{"inputs":[{"name":"x"}],"inputs" :[%b]}' % INPUT, "inputs: is given twice, as "),
        (b'{"inputs":[{"name":"x",%b]}' % INPUT[1:], "name: is given twice, as 'x' and 'image'"),
        (
            b'{"inputs":[%b],"parameters":{"min_score":0.9,"min_score":0.1}}' % INPUT,
            "min_score: is given twice, as '0.9' and '0.1'",
        ),
    ],
)
def test_a_member_with_two_values_is_refused(header: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(header)
    assert str(caught.value).startswith(f"the inference request: {says}")


def test_a_member_that_is_given_twice_with_one_value_is_read() -> None:
    header = b'{"inputs":[%b],"id":"a","parameters":{"max_faces":3,"max_faces":3},"id":"a"}' % INPUT
    asked = parse(header)
    assert (asked.id, asked.parameters) == ("a", {"max_faces": 3})


@pytest.mark.parametrize("size", [b"true", b"false", b'"1"', b'""'])
def test_a_shape_has_only_numbers(size: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(b'{"inputs":[{"name":"image","shape":[%b],"datatype":"BYTES"}]}' % size)
    assert str(caught.value) == "the inference request: inputs.0.shape.0: must be a whole number"


def test_a_whole_number_of_a_shape_may_have_a_point() -> None:
    asked = parse(b'{"inputs":[{"name":"image","shape":[1.0],"datatype":"BYTES"}]}')
    assert asked.inputs[0].shape == [1]


@pytest.mark.parametrize(
    "header",
    [
        b'{"inputs":[' + b"1," * 4_000_000 + b"1]}",
        b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":[' + b"[]" * 1_000_000,
        b'{"parameters":{' + b'"a":{},' * 1_000_000,
    ],
)
def test_json_of_millions_of_values_is_refused_unparsed(header: bytes) -> None:
    with pytest.raises(PayloadTooLarge, match="binary"):
        parse(header)


@pytest.mark.parametrize(
    "header",
    [
        b'{"inputs":[' + b"1," * 1_000_000 + b"1]}",
        b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[' + b"{}," * 400_000 + b"1]}]}",
        b'{"inputs":[{"name":"x","datatype":"B","shape":[1]}],"outputs":['
        + b"1," * 1_000_000
        + b"1]}",
    ],
)
def test_a_million_wrong_values_are_one_error(header: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidRequest) as caught:
        parse(header)
    assert len(str(caught.value)) < 200
    assert time.perf_counter() - started < 5


def test_a_hundred_thousand_parameters_are_one_error() -> None:
    with pytest.raises(InvalidRequest, match="more than 32"):
        parse_parameters({str(n): n for n in range(100_000)})
