"""Calls over a socket: tensors, errors, keys, limits, ids, metrics, log lines."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.servers import Server, StartServer
from tests.service.rpc.conftest import (
    INFER,
    SERVICE,
    connect,
    floats,
    log_lines,
    logged,
    request,
    services,
)

Cells = Callable[..., bytes]
Failed = Callable[..., Any]
Code = grpc.StatusCode


# --- tensors


def test_typed_contents_are_answered_with_typed_contents(stub: Any, bright_cells: Cells) -> None:
    files = [bright_cells(5), bright_cells(), bright_cells(0, 15)]
    typed = stub.ModelInfer(request(*files, raw=False))
    raw = stub.ModelInfer(request(*files))
    assert not typed.raw_output_contents
    assert len(raw.raw_output_contents) == 2
    assert [each.HasField("contents") for each in raw.outputs] == [False, False]
    assert typed.outputs[1].contents.int_contents == [1, 0, 2]
    assert np.frombuffer(raw.raw_output_contents[1], "<i4").tolist() == [1, 0, 2]
    assert floats(typed, 0).tolist() == floats(raw, 0).tolist()
    assert floats(raw, 0)[0].tolist() == [0, 16, 16, 32, 32, 1]


def pixels(*, raw: bool) -> pb.ModelInferRequest:
    image = np.zeros((64, 64, 3), np.uint8)
    image[16:32, 16:32] = 255
    message = pb.ModelInferRequest(model_name="cells")
    tensor = message.inputs.add(name="images", datatype="UINT8", shape=[1, 64, 64, 3])
    if raw:
        message.raw_input_contents.append(image.tobytes())
    else:
        tensor.contents.uint_contents.extend(image.ravel().tolist())
    return message


@pytest.mark.parametrize("raw", [True, False])
def test_pixels_are_read_from_both(stub: Any, raw: bool) -> None:
    answer = stub.ModelInfer(pixels(raw=raw))
    assert [each.name for each in answer.outputs] == ["boxes", "scores"]
    assert np.flatnonzero(floats(answer, 1)).tolist() == [5]
    assert floats(answer, 0)[0, 5].tolist() == [0.25, 0.25, 0.5, 0.5]


def both_contents(message: Any) -> None:
    message.inputs[0].contents.bytes_contents.append(b"x")


def two_raw(message: Any) -> None:
    message.raw_input_contents.append(b"x")


def no_contents(message: Any) -> None:
    del message.raw_input_contents[:]


def wrong_contents(message: Any) -> None:
    del message.raw_input_contents[:]
    message.inputs[0].contents.uint_contents.append(1)


def cut_off(message: Any) -> None:
    message.raw_input_contents[0] = message.raw_input_contents[0][:-1]


def no_inputs(message: Any) -> None:
    del message.inputs[:]


def negative_shape(message: Any) -> None:
    message.inputs[0].shape[0] = -1


def shared_memory(message: Any) -> None:
    message.inputs[0].parameters["shared_memory_region"].string_param = "r"


def truth_for_a_number(message: Any) -> None:
    message.parameters["min_score"].bool_param = True


def text_for_a_truth(message: Any) -> None:
    message.parameters["binary_data_output"].string_param = "yes"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (both_contents, "image: has contents and raw_input_contents"),
        (two_raw, "2 raw_input_contents for one input"),
        (no_contents, "image: has neither bytes_contents nor raw_input_contents"),
        (wrong_contents, "image: has neither bytes_contents nor raw_input_contents"),
        (cut_off, "image: an element of"),
        (no_inputs, "the inference request: inputs: "),
        (negative_shape, "the inference request: inputs.0.shape.0: "),
        (shared_memory, "image: shared memory is not supported"),
        (truth_for_a_number, "the request parameters: min_score: must be a number"),
        (text_for_a_truth, "the request parameters: binary_data_output: "),
    ],
)
def test_a_wrong_request_is_explained(
    stub: Any, bright_cells: Cells, failed: Failed, change: Callable[[Any], None], says: str
) -> None:
    message = request(bright_cells(5))
    change(message)
    error = failed(stub.ModelInfer, message)
    assert error.code() is Code.INVALID_ARGUMENT
    assert error.details().startswith(says)


def test_a_number_may_come_as_text(stub: Any, bright_cells: Cells) -> None:
    message = request(bright_cells(5, 9))
    message.parameters["max_faces"].string_param = "1"
    assert len(floats(stub.ModelInfer(message), 0)) == 1


def test_a_pixel_above_255_is_refused(stub: Any, failed: Failed) -> None:
    message = pixels(raw=False)
    message.inputs[0].contents.uint_contents[7] = 256
    error = failed(stub.ModelInfer, message)
    assert error.code() is Code.INVALID_ARGUMENT
    assert error.details() == "images: data must be whole numbers from 0 to 255"


# --- what is not a request


def test_an_unknown_method_is_unimplemented(channel: Any, failed: Failed) -> None:
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelStatistics")
    assert failed(call, b"").code() is Code.UNIMPLEMENTED


def test_a_call_without_a_message_is_explained(channel: Any, failed: Failed) -> None:
    error = failed(channel.stream_unary(INFER), iter(()))
    assert (error.code(), error.details()) == (Code.INVALID_ARGUMENT, "the call has no message")


def test_a_message_that_never_comes_times_out(start_server: Any, failed: Failed) -> None:
    ended = threading.Event()

    def silence() -> Iterator[bytes]:
        ended.wait(60)
        yield from ()

    with start_server(GRPC_PORT=0, REQUEST_TIMEOUT_S=1) as server, connect(server) as channel:
        error = failed(channel.stream_unary(INFER), silence())
        ended.set()
    assert error.code() is Code.DEADLINE_EXCEEDED
    assert error.details() == "the deadline of the request passed"


@settings(max_examples=200)
@given(at=st.integers(0, 10_000), replacement=st.binary(max_size=4), cut=st.booleans())
def test_a_damaged_message_is_answered_or_explained(
    server: Server, at: int, replacement: bytes, cut: bool
) -> None:
    sent = bytearray(DAMAGED)
    at %= len(sent)
    sent[at : at + len(replacement)] = replacement
    with connect(server) as channel:
        answer = channel.unary_unary(INFER).future(bytes(sent[:at] if cut else sent), timeout=60)
        expected = {Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED}
        assert answer.code() in expected, answer.details()


DAMAGED = request(bytes(range(50)), raw=True, min_score=0.5).SerializeToString()


# --- limits


def test_a_message_above_the_limit_is_refused_and_the_service_goes_on(
    server: Server, stub: Any, failed: Failed, bright_cells: Cells
) -> None:
    metadata = (("x-request-id", "large"),)
    error = failed(stub.ModelInfer, request(bytes(2_000_001)), metadata=metadata)
    assert error.code() is Code.RESOURCE_EXHAUSTED
    assert "larger than max" in error.details()
    line = logged(server, "large")
    assert line["status"] == 499
    assert line["detail"] == "the client cancelled, or its message was longer than SFD_MAX_BYTES"
    assert len(floats(stub.ModelInfer(request(bright_cells(5))), 0)) == 1


@pytest.mark.parametrize(
    ("data", "compression"),
    [
        (bytes(100 * 2**20), grpc.Compression.Gzip),
        # two bytes that become an object each
        (b"\x2a\x00" * 900_000, None),
        (b"\x32\x00" * 900_000, None),
        (b"\x2a\x06\x22\x04\x0a\x00\x12\x00" * 200_000, None),
        (b"\x2a\x80\x89\x7a" + b"\x18\x00" * 1_000_000, None),
        (b"\x2a\x84\x89\x7a\x1a\x80\x89\x7a" + bytes(2_000_000 - 64), None),
    ],
    ids=["bomb", "inputs", "outputs", "parameters", "shapes", "packed shape"],
)
def test_a_small_message_cannot_take_much_memory(
    server: Server, channel: Any, failed: Failed, data: bytes, compression: Any
) -> None:
    server.forget_peak()
    before = server.memory()
    error = failed(channel.unary_unary(INFER), data, compression=compression)
    assert error.code() in (Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT), error.details()
    assert server.memory("VmHWM") - before < 40 * 2**20


def test_more_images_than_a_request_may_have_are_refused(stub: Any, failed: Failed) -> None:
    error = failed(stub.ModelInfer, request(*[b"x"] * 33))
    assert error.code() is Code.RESOURCE_EXHAUSTED
    assert error.details() == "the request has 33 images; the limit is 32"


# --- failures


BROKEN = """
import detection.session as s, service.openinference.calls as c
run, find = s.Session.run, c.find
def fail(self, images):
    if images[0].max() == 255: raise RuntimeError('the secret')
    return run(self, images)
def find_none(runtime, name, *others):
    if name == "bug": raise ZeroDivisionError('the secret')
    return find(runtime, name, *others)
s.Session.run, c.find = fail, find_none
"""


@pytest.fixture(scope="module")
def broken(start_for_module: StartServer) -> Iterator[Server]:
    """A service with a model that fails on each image, and with a bug for another model."""
    with start_for_module(BROKEN, GRPC_PORT=0) as server:
        yield server


def test_a_model_that_fails_is_an_internal_error_without_its_text(
    broken: Server, bright_cells: Cells, failed: Failed
) -> None:
    with connect(broken) as channel:
        stub = GRPCInferenceServiceStub(channel)
        error = failed(stub.ModelInfer, request(bright_cells(5)))
    assert (error.code(), error.details()) == (
        Code.INTERNAL,
        "the model failed on this image; the log says more",
    )


def test_a_bug_is_an_internal_error_and_its_traceback_is_in_the_log(
    broken: Server, failed: Failed
) -> None:
    with connect(broken) as channel:
        stub = GRPCInferenceServiceStub(channel)
        ask = pb.ModelReadyRequest(name="bug")
        error = failed(stub.ModelReady, ask, metadata=(("x-request-id", "bug"),))
        line = next(line for line in log_lines(broken, "bug") if line["level"] == "error")
    assert error.code() is Code.INTERNAL
    assert error.details() == "internal error; look for the request id in the service's log"
    assert "the secret" in line["exception"]


# --- keys


@pytest.fixture(scope="module")
def guarded(start_for_module: StartServer) -> Iterator[Server]:
    """A service that wants a key."""
    with start_for_module(GRPC_PORT=0, API_KEYS="12345678") as server:
        yield server


def test_calls_need_a_key_where_http_does(guarded: Server, failed: Failed) -> None:
    with connect(guarded) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        for call, message in (
            (stub.ServerMetadata, pb.ServerMetadataRequest()),
            (stub.ModelReady, pb.ModelReadyRequest(name="cells")),
            (stub.ModelMetadata, pb.ModelMetadataRequest(name="cells")),
            (stub.ModelInfer, request(b"x")),
        ):
            for metadata in ((), (("x-api-key", "wrong"),), (("authorization", "Basic 12345678"),)):
                error = failed(call, message, metadata=metadata)
                assert error.code() is Code.UNAUTHENTICATED
                assert "API key" in error.details()
        for key in (("x-api-key", "12345678"), ("authorization", "Bearer 12345678")):
            assert stub.ModelReady(pb.ModelReadyRequest(name="cells"), metadata=(key,)).ready
        assert "12345678" not in guarded.complete_log()


def test_health_and_reflection_need_no_key(guarded: Server) -> None:
    with connect(guarded) as channel:
        health: Any = HealthStub(channel)
        health.Check(health_pb2.HealthCheckRequest())
        assert SERVICE in services(channel)


def test_a_call_without_a_key_is_refused_before_its_message_comes(
    guarded: Server, failed: Failed
) -> None:
    refused = threading.Event()

    def message() -> Iterator[bytes]:
        refused.wait(60)
        yield from ()

    with connect(guarded) as channel:
        error = failed(channel.stream_unary(INFER), message())
        refused.set()
    assert error.code() is Code.UNAUTHENTICATED


# --- ids, log lines and metrics


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ((("x-request-id", "mine-1"),), "mine-1"),
        ((("traceparent", f"00-{'4b' * 16}-{'00f067aa0ba902b7'}-01"),), "4b" * 16),
        ((("x-request-id", "not valid"),), None),
        ((), None),
    ],
)
def test_the_request_id_comes_back_and_is_in_the_log(
    server: Server, stub: Any, bright_cells: Cells, metadata: Any, expected: str | None
) -> None:
    _, call = stub.ModelInfer.with_call(request(bright_cells(5, 9)), metadata=metadata)
    request_id = dict(call.trailing_metadata())["x-request-id"]
    assert len(request_id) == 32 if expected is None else request_id == expected
    line = logged(server, request_id)
    assert (line["method"], line["path"], line["client"]) == ("gRPC", INFER, "127.0.0.1")
    assert (line["status"], line["grpc_status"]) == (200, "OK")
    assert (line["model"], line["images"], line["faces"]) == ("cells", 1, 2)


def test_an_error_has_the_request_id_too(server: Server, stub: Any, failed: Failed) -> None:
    metadata = (("x-request-id", "wrong-1"), ("data-bin", b"\xff\x00"))
    error = failed(stub.ModelInfer, request(b"no image"), metadata=metadata)
    assert dict(error.trailing_metadata())["x-request-id"] == "wrong-1"
    line = logged(server, "wrong-1")
    assert (line["status"], line["grpc_status"]) == (415, "INVALID_ARGUMENT")
    assert (line["problem"], line["detail"]) == ("unsupported-media-type", error.details())


def test_the_stage_times_come_after_the_answer(stub: Any, bright_cells: Cells) -> None:
    _, call = stub.ModelInfer.with_call(request(bright_cells(5)))
    assert "inference;dur=" in dict(call.trailing_metadata())["server-timing"]


def test_each_call_is_counted_by_its_method_and_status(
    server: Server, stub: Any, bright_cells: Cells, failed: Failed
) -> None:
    def counts() -> dict[str, float]:
        names = {
            "good": f'sfd_requests_total{{route="{INFER}",status="200"}}',
            "bad": f'sfd_requests_total{{route="{INFER}",status="404"}}',
            "seconds": f'sfd_request_seconds_count{{route="{INFER}"}}',
            "rejected": 'sfd_rejected_total{reason="unknown-model"}',
            "faces": "sfd_faces_total",
        }
        found = server.metrics()
        return {name: found.get(sample, 0) for name, sample in names.items()}

    before = counts()
    stub.ModelInfer(request(bright_cells(5, 9)))
    wrong = request(b"x")
    wrong.model_name = "nobody"
    failed(stub.ModelInfer, wrong)
    grown = {name: value - before[name] for name, value in counts().items()}
    assert grown == {"good": 1, "bad": 1, "seconds": 2, "rejected": 1, "faces": 2}
    assert server.metrics()["sfd_in_flight"] == 1  # the scrape


def test_a_clients_own_path_is_no_label(server: Server, channel: Any, failed: Failed) -> None:
    failed(channel.unary_unary("/inference.GRPCInferenceService/Mine"), b"")
    assert "Mine" not in httpx.get(f"{server.url}/metrics").text


def test_many_clients_get_their_own_answers(server: Server, bright_cells: Cells) -> None:
    wanted = [tuple(sorted({n % 16, (3 * n + 1) % 16})) for n in range(64)]
    messages = [request(bright_cells(*cells)) for cells in wanted]
    with connect(server) as channel:
        stub = GRPCInferenceServiceStub(channel)
        asked = [stub.ModelInfer.future(message, timeout=60) for message in messages]
        for cells, each in zip(wanted, asked, strict=True):
            corners = {(int(x1) // 16, int(y1) // 16) for _, x1, y1, *_ in floats(each.result(), 0)}
            assert corners == {(cell % 4, cell // 4) for cell in cells}
