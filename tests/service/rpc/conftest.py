"""The service with a gRPC port, in a process of its own, and a client with the published schema.

The messages are those of Triton's client, so no test here imports the service's own schema: one
process cannot hold two schemas of the same name.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.servers import Server, StartServer

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"


@contextmanager
def connect(server: Server) -> Iterator[Any]:
    """A channel; it does not hide a refused call behind attempts of its own."""
    options = [("grpc.enable_retries", 0), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options=options) as channel:
        yield channel


@pytest.fixture(scope="module")
def server(start_for_module: StartServer) -> Iterator[Server]:
    """One service for all tests of a module that don't change it."""
    with start_for_module(GRPC_PORT=0, MAX_BYTES="2MB") as server:
        yield server


@pytest.fixture
def channel(server: Server) -> Iterator[Any]:
    with connect(server) as channel:
        yield channel


@pytest.fixture
def stub(channel: Any) -> Any:
    return GRPCInferenceServiceStub(channel)


def request(*files: bytes, raw: bool = True, **parameters: float) -> pb.ModelInferRequest:
    """A request for the faces of image files."""
    message = pb.ModelInferRequest(model_name="cells")
    tensor = message.inputs.add(name="image", datatype="BYTES", shape=[len(files)])
    if raw:
        parts = [len(data).to_bytes(4, "little") + data for data in files]
        message.raw_input_contents.append(b"".join(parts))
    else:
        tensor.contents.bytes_contents.extend(files)
    for name, value in parameters.items():
        message.parameters[name].double_param = value
    return message


@pytest.fixture
def failed() -> Callable[..., Any]:
    """Makes a call that must fail; gives its error."""

    def ask(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            call(*arguments, timeout=60, **options)
        error: Any = caught.value
        assert "Traceback" not in error.details()
        return error

    return ask


def ask_reflection(channel: Any, **asked: str) -> Any:
    """The answer of the reflection service."""
    message = reflection_pb2.ServerReflectionRequest(**asked)  # type: ignore[arg-type]
    stub: Any = ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([message]))
    return answer


def services(channel: Any) -> list[str]:
    """The services that reflection lists."""
    answer = ask_reflection(channel, list_services="")
    return [each.name for each in answer.list_services_response.service]


def log_lines(server: Server, request_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.complete_log().splitlines()]
    return [line for line in lines if line.get("request_id") == request_id]


def logged(server: Server, request_id: str) -> dict[str, Any]:
    """The log line of a call, which may come after its answer."""
    deadline = time.monotonic() + 20
    while not (found := log_lines(server, request_id)):
        assert time.monotonic() < deadline, request_id
        time.sleep(0.02)
    return found[0]


def floats(response: Any, index: int) -> Any:
    """An FP32 output, wherever its values are."""
    output = response.outputs[index]
    if response.raw_output_contents:
        values = np.frombuffer(response.raw_output_contents[index], "<f4")
    else:
        values = np.asarray(output.contents.fp32_contents, np.float32)
    return values.reshape(output.shape)
