"""The queue of calls over a socket: refusals and their pace, deadlines, clients that leave."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.servers import Server, StartServer
from tests.service.rpc.conftest import INFER, connect, floats, logged, request

Cells = Callable[..., bytes]
Failed = Callable[..., Any]
Code = grpc.StatusCode


ENDLESS = "from service.pace import Pace; Pace.delay = lambda self: 60.0"
"""Python to run before the service: each refusal that is paced waits for a minute."""
FORGETFUL = "from detection.admission import Admission; Admission.learn = lambda *_, **__: None"
"""Python to run before the service: a held inference does not make it predict long waits."""


@pytest.fixture(scope="module")
def holding_server(
    start_for_module: StartServer,
    holding: Callable[[Path], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Server, Path]]:
    gate = tmp_path_factory.mktemp("gate") / "gate"
    before = f"{ENDLESS}\n{FORGETFUL}\n{holding(gate)}"
    limits = {"QUEUE_LIMIT": 3, "MAX_IMAGES": 3, "MAX_BATCH": 1}
    with start_for_module(before, GRPC_PORT=0, **limits) as server:
        yield server, gate


@pytest.fixture
def held(holding_server: tuple[Server, Path]) -> Iterator[tuple[Server, Path]]:
    """A service whose inferences wait until a file exists, one image at a time."""
    server, gate = holding_server
    yield server, gate
    gate.touch()
    server.wait_until_idle()
    # A batch whose clients have left may be held still. It looks for the file every 10 ms.
    time.sleep(0.1)
    gate.unlink()


def fill_queue(server: Server, stub: Any, image: bytes, waiting: int) -> list[Any]:
    """Send a service that holds its inferences one call to infer, and then calls that wait."""
    batches = server.metrics()["sfd_batch_size_count"]
    calls = [stub.ModelInfer.future(request(image), timeout=60)]
    server.wait_for("sfd_batch_size_count", batches + 1)
    calls += [stub.ModelInfer.future(request(image), timeout=60) for _ in range(waiting)]
    server.wait_for("sfd_queue_depth", waiting)
    return calls


def test_a_full_queue_is_unavailable_and_says_when_to_come_back(
    held: tuple[Server, Path], bright_cells: Cells, failed: Failed
) -> None:
    server, gate = held
    with connect(server) as channel:
        stub = GRPCInferenceServiceStub(channel)
        asked = fill_queue(server, stub, bright_cells(5), 3)
        error = failed(stub.ModelInfer, request(bright_cells(5)))
        gate.touch()
        assert all(len(floats(each.result(), 0)) == 1 for each in asked)
    assert error.code() is Code.UNAVAILABLE
    assert error.details() == "the queue of 3 images is full; try again later"
    trailing = dict(error.trailing_metadata())
    assert (trailing["retry-after"], trailing["grpc-retry-pushback-ms"]) == ("1", "1000")


def refused_call(server: Server, stub: Any, image: bytes) -> Any:
    """A call without a deadline that the service has refused, perhaps without an answer yet."""
    call = stub.ModelInfer.future(request(image), metadata=(("x-request-id", "p"),))
    assert logged(server, "p")["problem"] == "overloaded"
    return call


def test_only_a_refusal_without_a_deadline_is_paced(
    held: tuple[Server, Path], bright_cells: Cells, failed: Failed
) -> None:
    server, gate = held
    with connect(server) as channel:
        stub = GRPCInferenceServiceStub(channel)
        asked = fill_queue(server, stub, bright_cells(5), 3)
        paced = refused_call(server, stub, bright_cells(5))
        error = failed(stub.ModelInfer, request(bright_cells(5)))
        assert error.code() is Code.UNAVAILABLE
        assert not paced.done()
        paced.cancel()
        gate.touch()
        assert all(len(floats(each.result(), 0)) == 1 for each in asked)


def test_a_paced_refusal_is_sent_when_the_grace_time_ends(
    start_server: Any, holding: Callable[[Path], str], tmp_path: Path, bright_cells: Cells
) -> None:
    gate = tmp_path / "gate"
    limits = {"QUEUE_LIMIT": 1, "MAX_IMAGES": 1, "MAX_BATCH": 1, "GRPC_PORT": 0}
    before = f"{ENDLESS}\n{holding(gate)}"
    with (
        start_server(before, **limits, SHUTDOWN_GRACE_S=1) as server,
        connect(server) as channel,
    ):
        stub = GRPCInferenceServiceStub(channel)
        asked = fill_queue(server, stub, bright_cells(5), 1)
        paced = refused_call(server, stub, bright_cells(5))
        server.process.send_signal(signal.SIGTERM)
        error = paced.exception()
        gate.touch()
        assert error.code() is Code.UNAVAILABLE
        assert error.details() == "the queue of 1 images is full; try again later"
        assert [each.exception().code() for each in asked] == [Code.UNAVAILABLE] * 2


# --- deadlines and cancellation


def test_a_client_that_cancels_frees_its_place(
    held: tuple[Server, Path], bright_cells: Cells
) -> None:
    server, gate = held
    with connect(server) as channel:
        stub = GRPCInferenceServiceStub(channel)
        (first,) = fill_queue(server, stub, bright_cells(5), 0)
        batches = server.metrics()["sfd_batch_size_count"]
        waiting = stub.ModelInfer.future(
            request(bright_cells(5)), timeout=60, metadata=(("x-request-id", "gone"),)
        )
        server.wait_for("sfd_queue_depth", 1)
        waiting.cancel()
        line = logged(server, "gone")
        assert (line["status"], line["grpc_status"]) == (499, "CANCELLED")
        assert line["problem"] == "client-gone"
        assert server.metrics()["sfd_queue_depth"] == 0
        gate.touch()
        assert len(floats(first.result(), 0)) == 1
        server.wait_until_idle()
        assert server.metrics()["sfd_batch_size_count"] == batches


@pytest.mark.parametrize("whose", ["of-gRPC", "of-the-protocol"])
def test_a_deadline_ends_the_call_and_frees_its_place(
    held: tuple[Server, Path], bright_cells: Cells, whose: str
) -> None:
    server, gate = held
    with connect(server) as channel:
        stub = GRPCInferenceServiceStub(channel)
        (first,) = fill_queue(server, stub, bright_cells(5), 0)
        message = request(bright_cells(5))
        if whose == "of-the-protocol":
            message.parameters["timeout"].int64_param = 1_000_000
        seconds = 1 if whose == "of-gRPC" else 60
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(message, timeout=seconds, metadata=(("x-request-id", whose),))
        assert caught.value.code() is Code.DEADLINE_EXCEEDED
        line = logged(server, whose)
        assert (line["status"], line["problem"]) == (504, "timeout")
        assert server.metrics()["sfd_queue_depth"] == 0
        gate.touch()
        assert len(floats(first.result(), 0)) == 1


def test_both_protocols_share_one_queue(held: tuple[Server, Path], bright_cells: Cells) -> None:
    data = bright_cells(5)
    server, gate = held
    with connect(server) as channel, ThreadPoolExecutor(1) as pool:
        stub = GRPCInferenceServiceStub(channel)
        asked = fill_queue(server, stub, data, 2)
        url = f"{server.url}/detect?min_score=0.5"
        posted = pool.submit(httpx.post, url, content=data, timeout=60)
        server.wait_for("sfd_queue_depth", 3)
        time.sleep(1.5)
        gate.touch()
        assert posted.result().json()["timings_ms"]["queue"] > 1000
        assert all(len(floats(each.result(), 0)) == 1 for each in asked)


def test_clients_that_send_nothing_do_not_stop_others(
    start_server: Any, bright_cells: Cells
) -> None:
    ended = threading.Event()

    def silence() -> Iterator[bytes]:
        ended.wait(60)
        yield from ()

    before = "import service.rpc.turns as turns; turns.LONGEST_S = 0.5"
    with start_server(before, GRPC_PORT=0) as server, connect(server) as channel:
        calls = [channel.stream_unary(INFER).future(silence()) for _ in range(50)]
        server.wait_for("sfd_in_flight", 10)
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerReady(pb.ServerReadyRequest(), timeout=20).ready
        assert len(floats(stub.ModelInfer(request(bright_cells(5)), timeout=20), 0)) == 1
        # The first ones had to leave.
        assert calls[0].exception(timeout=20).code() is Code.UNAVAILABLE
        assert "other calls wait" in calls[0].exception().details()
        for call in calls:
            call.cancel()
        ended.set()
        server.wait_until_idle()
