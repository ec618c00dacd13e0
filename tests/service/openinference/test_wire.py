"""The check before parsing, with the published schema of Triton's client."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from service.errors import InvalidRequest, PayloadTooLarge
from service.openinference import wire

KIND: Any = pb.ModelInferRequest.DESCRIPTOR


def check(message: Any) -> None:
    wire.check(memoryview(message.SerializeToString()), KIND)


def test_a_request_with_all_its_parts_passes() -> None:
    message = pb.ModelInferRequest(model_name="cells", id="1", raw_input_contents=[bytes(10**6)])
    message.parameters["min_score"].double_param = 0.5
    message.parameters["timeout"].uint64_param = 2**63
    tensor = message.inputs.add(name="image", datatype="BYTES", shape=[1024, 1])
    tensor.contents.bytes_contents.extend([b"x"] * 1024)
    tensor.contents.uint_contents.extend([255] * 100_000)
    message.outputs.add(name="detections")
    check(message)


@pytest.mark.parametrize(
    "message",
    [
        pb.ModelInferRequest(inputs=[{}] * 10_001),
        pb.ModelInferRequest(outputs=[{}] * 10_001),
        pb.ModelInferRequest(inputs=[{"contents": {"bytes_contents": [b""] * 10_001}}]),
        pb.ModelInferRequest(id="1" * 70_000),
        pb.ModelInferRequest(inputs=[{"shape": [1] * 70_000}]),
    ],
    ids=["inputs", "outputs", "elements", "a text", "a shape"],
)
def test_more_than_a_request_can_need_is_too_large(message: Any) -> None:
    with pytest.raises(PayloadTooLarge):
        check(message)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",  # no length
        b"\x0a\x05abc",  # shorter than its length
        b"\x0b",  # a group
        b"\x80",  # an unfinished tag
        b"\x18" + b"\xff" * 11,  # a number of more than ten bytes
        b"\x19\x00",  # 64 bits cut off
    ],
)
def test_broken_data_is_an_invalid_request(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        wire.check(memoryview(data), KIND)


@given(st.binary(max_size=60))
def test_what_protobuf_can_parse_passes_unless_it_has_a_group(data: bytes) -> None:
    try:
        pb.ModelInferRequest.FromString(data)
    except DecodeError:
        return
    try:
        wire.check(memoryview(data), KIND)
    except InvalidRequest:
        assert {byte & 7 for byte in data} & {3, 4}
