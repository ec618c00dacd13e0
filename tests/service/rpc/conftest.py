"""The service with a gRPC port, in a process of its own, and a client with the published schema.

The messages are those of Triton's client, so no test here imports the service's own schema: one
process cannot hold two schemas of the same name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.servers import FIXED, Server, run_server

INFER = "/inference.GRPCInferenceService/ModelInfer"


@contextmanager
def connect(server: Server) -> Iterator[Any]:
    """A channel; it does not hide a refused call behind attempts of its own."""
    options = [("grpc.enable_retries", 0), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options=options) as channel:
        yield channel


@pytest.fixture(scope="module")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for all tests of a module that don't change it."""
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells"} | FIXED
    environment |= {"SFD_GRPC_PORT": "0", "SFD_MAX_BYTES": "2MB"}
    with run_server(tmp_path_factory.mktemp("server"), environment) as server:
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
