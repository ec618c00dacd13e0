"""The gRPC server as a whole: start, health, reflection, SIGTERM."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import grpc
import httpx
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.servers import FIXED, Command, Server, StartServer
from tests.service.rpc.conftest import SERVICE, ask_reflection, connect, request, services

Cells = Callable[..., bytes]
Failed = Callable[..., Any]
Code = grpc.StatusCode
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(channel: Any) -> Any:
    return HealthStub(channel)


# --- health and reflection


@pytest.mark.parametrize("service", ["", SERVICE])
def test_a_warm_service_is_serving(channel: Any, service: str) -> None:
    asked = health_pb2.HealthCheckRequest(service=service)
    deadline = time.monotonic() + 20
    while (status := health(channel).Check(asked).status) != SERVING:
        assert time.monotonic() < deadline, status
        time.sleep(0.02)


def test_the_health_of_an_unknown_service_is_not_found(channel: Any, failed: Failed) -> None:
    asked = health_pb2.HealthCheckRequest(service="nobody")
    assert failed(health(channel).Check, asked).code() is Code.NOT_FOUND


@pytest.fixture(scope="module")
def hasty(start_for_module: StartServer) -> Iterator[Server]:
    """A service that gives a client only a second to speak HTTP/2, and takes the largest body:
    one byte more than gRPC can count."""
    before = "import service.rpc.server as s; s.HANDSHAKE_MS = 1000"
    with start_for_module(before, GRPC_PORT=0, MAX_BYTES=2**31) as server:
        yield server


def test_it_starts_with_the_largest_body(hasty: Server) -> None:
    with connect(hasty) as channel:
        # If a busy machine takes more than a second to connect, the channel tries again.
        asked = health_pb2.HealthCheckRequest()
        answer = health(channel).Check(asked, wait_for_ready=True, timeout=60)
        assert answer.status == SERVING


def test_all_addresses_are_those_of_ipv4_and_ipv6(start_server: Any) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no socket for both IPv4 and IPv6")
    with start_server(GRPC_PORT=0, HOST="::") as server:
        port = server.grpc.rpartition(":")[2]
        for address in (server.grpc, f"127.0.0.1:{port}", f"[::1]:{port}"):
            with grpc.insecure_channel(address) as channel:
                health(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)


def test_reflection_lists_the_services(channel: Any) -> None:
    assert sorted(services(channel)) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
    ]


def described(channel: Any) -> FileDescriptorProto:
    answer = ask_reflection(channel, file_containing_symbol=SERVICE)
    (data,) = answer.file_descriptor_response.file_descriptor_proto
    return FileDescriptorProto.FromString(data)


def messages_of(parent: Any) -> dict[str, Any]:
    """All messages of a schema by name, with those inside others."""
    found = {}
    inside = parent.message_type if hasattr(parent, "message_type") else parent.nested_type
    for each in inside:
        found[each.name] = each
        found |= {f"{each.name}.{name}": inner for name, inner in messages_of(each).items()}
    return found


def test_the_schema_is_a_part_of_the_published_one(channel: Any) -> None:
    """Reflection shows what the service has; Triton's client brings the published schema."""
    published = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(published)
    ours, theirs = described(channel), published
    assert ours.package == theirs.package
    known = messages_of(theirs)
    compared = 0
    for name, message in messages_of(ours).items():
        fields = {field.name: field for field in known[name].field}
        for field in message.field:
            other = fields[field.name]
            for property_ in ("number", "type", "label", "type_name"):
                assert getattr(field, property_) == getattr(other, property_), (name, field.name)
            compared += 1
    assert compared > 40
    (service,), (whole,) = ours.service, theirs.service
    methods = {each.name: each for each in whole.method}
    for method in service.method:
        assert method == methods[method.name] or (
            method.input_type == methods[method.name].input_type
            and method.output_type == methods[method.name].output_type
            and not method.server_streaming
        )


# --- the start


def test_before_the_warm_up_it_is_alive_and_not_serving(
    start_real_server: Any, store: Path, tmp_path: Path, failed: Failed
) -> None:
    gate = tmp_path / "gate"
    before = (
        "import pathlib, time, detection.session as s\nwarm = s.Session.warm_up\n"
        "def wait(self, *sizes, **options):\n"
        f"    while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\n"
        "    return warm(self, *sizes, **options)\ns.Session.warm_up = wait"
    )
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_GRPC_PORT": "0"}
    seen: list[Server] = []

    def run() -> None:
        with start_real_server(tmp_path, environment | FIXED, before) as server:
            seen.append(server)
            release.wait(60)

    release = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        address = grpc_address(tmp_path / "server.log")
        with grpc.insecure_channel(address) as channel:
            stub = GRPCInferenceServiceStub(channel)
            assert stub.ServerLive(pb.ServerLiveRequest(), wait_for_ready=True, timeout=60).live
            assert not stub.ServerReady(pb.ServerReadyRequest()).ready
            assert not stub.ModelReady(pb.ModelReadyRequest(name="cells")).ready
            assert health(channel).Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
            error = failed(stub.ModelInfer, request(b"x"))
            assert error.code() is Code.UNAVAILABLE
            assert error.details() == "the service is warming up"
            watch = health(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
            assert next(watch).status == NOT_SERVING
            gate.touch()
            assert next(watch).status == SERVING
            assert stub.ServerReady(pb.ServerReadyRequest()).ready
            watch.cancel()
    finally:
        gate.touch()
        release.set()
        thread.join(60)
    assert seen


def grpc_address(log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines() if log.exists() else ():
            message = json.loads(line)["message"]
            if message.startswith("gRPC on "):
                return str(message.removeprefix("gRPC on "))
        time.sleep(0.02)
    raise AssertionError(log.read_text())


def test_a_port_in_use_stops_the_start_in_one_line(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command(SFD_GRPC_PORT=str(port))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"sfd serve: cannot listen on 127.0.0.1:{port}: the port is in use; "
        "stop the program that uses it, or set SFD_GRPC_PORT"
    )
    assert "Traceback" not in done.stderr


def test_a_second_service_on_the_same_port_does_not_start(command: Command, server: Server) -> None:
    done = command(SFD_GRPC_PORT=server.grpc.rpartition(":")[2])
    assert done.returncode == 1
    assert "the port is in use" in done.stderr


@pytest.mark.parametrize("package", ["grpc", "grpc_health", "grpc_reflection"])
def test_without_the_packages_the_start_names_the_extra_in_one_line(
    command: Command, package: str
) -> None:
    done = command(before=f"sys.modules[{package!r}] = None", SFD_GRPC_PORT="0")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"sfd serve: SFD_GRPC_PORT needs the Python package '{package}")
    assert line.endswith("run pip install 'sfd[grpc]'")


def test_without_the_setting_the_packages_are_not_needed(
    start_server: Any, bright_cells: Cells
) -> None:
    with start_server("import sys; sys.modules['grpc'] = None") as server:
        answer = httpx.post(f"{server.url}/detect", content=bright_cells(5))
        assert answer.status_code == 200
        assert "gRPC" not in server.complete_log()


def test_every_log_line_is_json(server: Server, channel: Any) -> None:
    health(channel).Check(health_pb2.HealthCheckRequest())
    for line in server.complete_log().splitlines():
        assert "message" in json.loads(line)


def test_a_connection_that_does_not_speak_http_2_is_closed_in_time(hasty: Server) -> None:
    host, _, port = hasty.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as silent:
        while silent.recv(65536):
            pass
    assert httpx.get(f"{hasty.url}/readyz").status_code == 200


def test_it_listens_on_ipv6_too(
    start_server: Any, bright_cells: Cells, missing: Callable[[str], NoReturn]
) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        missing("this machine has no IPv6")
    with start_server(HOST="::1", GRPC_PORT=0) as server, connect(server) as channel:
        assert server.grpc.startswith("[::1]:")
        GRPCInferenceServiceStub(channel).ModelInfer(request(bright_cells(5)), timeout=60)
        lines = [json.loads(line) for line in server.complete_log().splitlines()]
    assert [line["client"] for line in lines if line.get("method") == "gRPC"] == ["::1"]


# --- SIGTERM


def test_sigterm_during_the_warm_up_ends_with_0(
    store: Path, tmp_path: Path, sleeping: Callable[[object], str]
) -> None:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_PORT": "0"}
    environment |= FIXED | {"SFD_GRPC_PORT": "0"}
    program = f"{sleeping(3)}\nimport sys\nfrom sfd.cli import main\nsys.exit(main(['serve']))"
    log = tmp_path / "server.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=os.environ | environment, stderr=stderr
        )
    try:
        with grpc.insecure_channel(grpc_address(log)) as channel:
            stub = GRPCInferenceServiceStub(channel)
            assert stub.ServerLive(pb.ServerLiveRequest(), wait_for_ready=True, timeout=60).live
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def test_sigterm_finishes_accepted_calls_and_refuses_new_ones(
    start_server: Any,
    holding: Callable[[Path], str],
    tmp_path: Path,
    bright_cells: Cells,
    failed: Failed,
) -> None:
    gate = tmp_path / "gate"
    with (
        start_server(holding(gate), GRPC_PORT=0) as server,
        connect(server) as idle,
        connect(server) as channel,
    ):
        assert GRPCInferenceServiceStub(idle).ServerLive(pb.ServerLiveRequest()).live
        stub = GRPCInferenceServiceStub(channel)
        watch = health(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        while next(watch).status != SERVING:
            pass
        asked = [stub.ModelInfer.future(request(bright_cells(5)), timeout=60) for _ in range(4)]
        server.wait_for("sfd_in_flight", 5)  # the scrape is one
        server.wait_for("sfd_batch_size_count", 1)
        server.process.send_signal(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        error = failed(stub.ModelInfer, request(bright_cells(5)))
        assert error.code() is Code.UNAVAILABLE
        assert error.details() == "the service is shutting down"
        assert not stub.ServerReady(pb.ServerReadyRequest()).ready
        assert not any(each.done() for each in asked)
        gate.touch()
        for each in asked:
            assert each.result().outputs[0].name == "detections"
        # Neither the client that watches the health nor an idle one holds up the end.
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log.read_text()


def test_clients_that_leave_when_it_drains_get_an_answer_to_each_call(
    start_server: Any, bright_cells: Cells
) -> None:
    message = request(bright_cells(5))
    answered = threading.Semaphore(0)

    def ask(server: Server) -> grpc.StatusCode:
        """Ask again and again until the first error."""
        with connect(server) as channel:
            stub = GRPCInferenceServiceStub(channel)
            while True:
                call = stub.ModelInfer.future(message, timeout=60)
                code: grpc.StatusCode = call.code()
                if code is not Code.OK:
                    return code
                answered.release()

    with start_server(GRPC_PORT=0) as server, ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask, server) for _ in range(8)]
        for _ in range(50):
            assert answered.acquire(timeout=60)
        server.process.send_signal(signal.SIGTERM)
        assert [client.result(60) for client in clients] == [Code.UNAVAILABLE] * 8
        assert server.process.wait(20) == 0


def test_a_call_that_outlasts_the_grace_time_is_answered_unavailable(
    start_server: Any, holding: Callable[[Path], str], tmp_path: Path, bright_cells: Cells
) -> None:
    gate = tmp_path / "gate"
    with (
        start_server(holding(gate), GRPC_PORT=0, SHUTDOWN_GRACE_S=1) as server,
        connect(server) as channel,
    ):
        stub = GRPCInferenceServiceStub(channel)
        asked = stub.ModelInfer.future(request(bright_cells(5)), timeout=60)
        server.wait_for("sfd_batch_size_count", 1)
        server.process.send_signal(signal.SIGTERM)
        error = asked.exception()
        gate.touch()
        assert error.code() is Code.UNAVAILABLE
        assert error.details() == "the service was shut down before the request was done"
        assert server.process.wait(20) == 0
