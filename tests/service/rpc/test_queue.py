"""The queue of calls over a socket: refusals and their pace, deadlines, clients that leave."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Held:
    """A service whose inferences wait until a file exists, one image at a time; and a client."""

    server: Server
    stub: Any
    gate: Path

    def fill(self, image: bytes, waiting: int) -> list[Any]:
        """Send a call whose inference is held, and then calls that wait in the queue."""
        batches = self.server.metrics()["sfd_batch_size_count"]
        calls = [self.stub.ModelInfer.future(request(image), timeout=60)]
        self.server.wait_for("sfd_batch_size_count", batches + 1)
        calls += [self.stub.ModelInfer.future(request(image), timeout=60) for _ in range(waiting)]
        self.server.wait_for("sfd_queue_depth", waiting)
        return calls

    def refused(self, image: bytes) -> Any:
        """A call without a deadline that the service has refused, perhaps not answered yet."""
        call = self.stub.ModelInfer.future(request(image), metadata=(("x-request-id", "p"),))
        assert logged(self.server, "p")["problem"] == "overloaded"
        return call

    def answer(self, calls: list[Any]) -> None:
        """Let the inferences go on. Each call is answered with the face of its picture."""
        self.gate.touch()
        assert all(len(floats(each.result(), 0)) == 1 for each in calls)


@pytest.fixture
def held(holding_server: tuple[Server, Path]) -> Iterator[Held]:
    server, gate = holding_server
    with connect(server) as channel:
        yield Held(server, GRPCInferenceServiceStub(channel), gate)
        gate.touch()
        server.wait_until_idle()
    # A batch whose clients have left may be held still. It looks for the file every 10 ms.
    time.sleep(0.1)
    gate.unlink()


# --- refusals


def test_a_full_queue_is_unavailable_and_says_when_to_come_back(
    held: Held, bright_cells: Cells, failed: Failed
) -> None:
    asked = held.fill(bright_cells(5), 3)
    error = failed(held.stub.ModelInfer, request(bright_cells(5)))
    held.answer(asked)
    assert error.code() is Code.UNAVAILABLE
    assert error.details() == "the queue of 3 images is full; try again later"
    trailing = dict(error.trailing_metadata())
    assert (trailing["retry-after"], trailing["grpc-retry-pushback-ms"]) == ("1", "1000")


def test_only_a_refusal_without_a_deadline_is_paced(
    held: Held, bright_cells: Cells, failed: Failed
) -> None:
    asked = held.fill(bright_cells(5), 3)
    paced = held.refused(bright_cells(5))
    error = failed(held.stub.ModelInfer, request(bright_cells(5)))
    assert error.code() is Code.UNAVAILABLE
    assert not paced.done()
    paced.cancel()
    held.answer(asked)


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
        held = Held(server, GRPCInferenceServiceStub(channel), gate)
        asked = held.fill(bright_cells(5), 1)
        paced = held.refused(bright_cells(5))
        server.process.send_signal(signal.SIGTERM)
        error = paced.exception()
        gate.touch()
        assert error.code() is Code.UNAVAILABLE
        assert error.details() == "the queue of 1 image is full; try again later"
        assert [each.exception().code() for each in asked] == [Code.UNAVAILABLE] * 2


# --- deadlines and cancellation


def test_a_client_that_cancels_frees_its_place(held: Held, bright_cells: Cells) -> None:
    server = held.server
    asked = held.fill(bright_cells(5), 0)
    batches = server.metrics()["sfd_batch_size_count"]
    waiting = held.stub.ModelInfer.future(
        request(bright_cells(5)), timeout=60, metadata=(("x-request-id", "gone"),)
    )
    server.wait_for("sfd_queue_depth", 1)
    waiting.cancel()
    line = logged(server, "gone")
    assert (line["status"], line["grpc_status"]) == (499, "CANCELLED")
    assert line["problem"] == "client-gone"
    assert server.metrics()["sfd_queue_depth"] == 0
    held.answer(asked)
    server.wait_until_idle()
    assert server.metrics()["sfd_batch_size_count"] == batches


@pytest.mark.parametrize("whose", ["of-gRPC", "of-the-protocol"])
def test_a_deadline_ends_the_call_and_frees_its_place(
    held: Held, bright_cells: Cells, whose: str
) -> None:
    asked = held.fill(bright_cells(5), 0)
    message = request(bright_cells(5))
    if whose == "of-the-protocol":
        message.parameters["timeout"].int64_param = 1_000_000
    seconds = 1 if whose == "of-gRPC" else 60
    with pytest.raises(grpc.RpcError) as caught:
        held.stub.ModelInfer(message, timeout=seconds, metadata=(("x-request-id", whose),))
    assert caught.value.code() is Code.DEADLINE_EXCEEDED
    line = logged(held.server, whose)
    assert (line["status"], line["problem"]) == (504, "timeout")
    assert held.server.metrics()["sfd_queue_depth"] == 0
    held.answer(asked)


# --- several clients


def test_both_protocols_share_one_queue(held: Held, bright_cells: Cells) -> None:
    data = bright_cells(5)
    with ThreadPoolExecutor(1) as pool:
        asked = held.fill(data, 2)
        url = f"{held.server.url}/detect?min_score=0.5"
        posted = pool.submit(httpx.post, url, content=data, timeout=60)
        held.server.wait_for("sfd_queue_depth", 3)
        time.sleep(1.5)
        held.answer(asked)
        assert posted.result().json()["timings_ms"]["queue"] > 1000


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
