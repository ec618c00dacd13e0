import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.errors import InferenceFailed, RequestError
from service.errors import InvalidRequest
from service.openinference import tensors
from service.openinference.messages import InferenceRequest, InputTensor
from service.openinference.tensors import Received


def request(*inputs: dict[str, Any]) -> InferenceRequest:
    return InferenceRequest.model_validate(
        {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", **each} for each in inputs]}
    )


def received(shape: list[int], data: list[Any] | None, binary: bytes | None = None) -> Received:
    tensor = InputTensor(name="x", shape=shape, datatype="any", data=data)
    return Received(tensor, None if binary is None else memoryview(binary))


def serialized(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


def test_without_the_header_the_body_is_json_and_with_it_binary_data_follows() -> None:
    assert tensors.split(b'{"a":1}', None) == (b'{"a":1}', memoryview(b""))
    assert tensors.split(b"{}abc", "2") == (b"{}", memoryview(b"abc"))


@pytest.mark.parametrize("header", ["", "-1", "1.0", "x", "6", "²", "99999999999999999999"])
def test_an_impossible_header_length_is_invalid(header: str) -> None:
    with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length"):
        tensors.split(b"{}abc", header)


def test_binary_data_is_split_in_the_order_of_the_inputs() -> None:
    sizes = [{"parameters": {"binary_data_size": size}} for size in (2, 0, 3)]
    dealt = tensors.assign(request(*sizes, {"data": ["a"]}), memoryview(b"abcde"))
    assert [None if r.binary is None else bytes(r.binary) for r in dealt] == [
        b"ab", b"", b"cde", None,
    ]  # fmt: skip


@pytest.mark.parametrize("size", [6, -1, "5", 5.0, True, [5], 10**30])
def test_a_binary_size_that_does_not_fit_is_invalid(size: object) -> None:
    with pytest.raises(InvalidRequest):
        tensors.assign(request({"parameters": {"binary_data_size": size}}), memoryview(b"abcde"))


def test_no_more_elements_are_read_than_the_shape_has() -> None:
    """A megabyte of zeros would be a quarter of a million empty ones."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="1048568 bytes after the 2 of its shape"):
            tensors.files(received([2], None, bytes(2**20)))
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_bytes_after_the_last_tensor_are_invalid() -> None:
    with pytest.raises(InvalidRequest, match="3 bytes after"):
        tensors.assign(request({"parameters": {"binary_data_size": 2}}), memoryview(b"abcde"))


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_byte_elements_are_read_as_they_were_sent(elements: list[bytes]) -> None:
    assert tensors.files(received([len(elements)], None, serialized(*elements))) == elements


@given(st.binary(max_size=40))
def test_any_bytes_are_elements_or_an_invalid_request(binary: bytes) -> None:
    try:
        elements = tensors.files(received([1], None, binary))
    except InvalidRequest:
        return
    assert serialized(*(each for each in elements if isinstance(each, bytes))) == binary


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([1], None),
        ([2], ["YQ=="]),
        ([1], [1]),
        ([1], [[["YQ=="]]]),
        ([1], [None]),
        ([1], [{}]),
        ([0], ["YQ=="]),
    ],
)
def test_files_that_do_not_fit_their_shape_or_type_are_invalid(
    shape: list[int], data: list[Any] | None
) -> None:
    with pytest.raises(InvalidRequest):
        tensors.files(received(shape, data))


def test_text_that_is_not_base64_fails_only_its_image() -> None:
    good, bad = tensors.files(received([2], ["YQ==", "%"]))
    assert good == b"a"
    assert isinstance(bad, RequestError)


@pytest.mark.parametrize("data", [[1, 2, 3, 255], [[1, 2], [3, 255]], [[[1], [2]], [[3], [255]]]])
def test_pixels_may_be_flat_or_nested(data: list[Any]) -> None:
    assert tensors.pixels(received([2, 2], data)).tolist() == [[1, 2], [3, 255]]
    assert tensors.pixels(received([2, 2], None, bytes([1, 2, 3, 255]))).tolist() == [
        [1, 2],
        [3, 255],
    ]


DEEP: list[Any] = [1]
for _ in range(80):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "data",
    [
        None, [], [1], [1, 2, 3, 256], [1, 2, 3, -1], [1, 2, 3, 1.5],
        [True] * 4, ["1"] * 4, [1, 2, 3, None], [[1, 2], [3]], [1, 2, 3, 10**30], [{}] * 4, DEEP,
    ],
)  # fmt: skip
def test_pixels_of_a_wrong_number_or_type_are_invalid(data: list[Any] | None) -> None:
    with pytest.raises(InvalidRequest):
        tensors.pixels(received([2, 2], data))


def test_one_long_text_among_numbers_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest):
            tensors.pixels(received([100, 1], ["A" * 200_000] + [1] * 99))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1.5", "²", ""])
def test_a_json_length_that_is_not_a_number_is_invalid(length: str) -> None:
    with pytest.raises(InvalidRequest):
        tensors.split(b"{}", length)


def test_a_huge_shape_takes_little_memory() -> None:
    with pytest.raises(InvalidRequest):
        tensors.pixels(received([2**31] * 8, None, b"abc"))


def test_an_output_is_json_or_binary() -> None:
    values = np.asarray([[1.5, 2.5]], np.float32)
    output, data = tensors.send("x", "FP32", values, binary=False)
    assert (output.data, output.shape, data) == ([1.5, 2.5], [1, 2], b"")
    output, data = tensors.send("x", "FP32", values, binary=True)
    assert (output.data, output.parameters) == (None, {"binary_data_size": 8})
    assert data == struct.pack("<2f", 1.5, 2.5)


def test_values_that_json_cannot_express_need_binary() -> None:
    values = np.asarray([np.inf], np.float32)
    assert len(tensors.send("x", "FP32", values, binary=True)[1]) == 4
    with pytest.raises(InferenceFailed, match="binary"):
        tensors.send("x", "FP32", values, binary=False)
