"""The open loop: its times, and what it counts."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.servers.arrivals import Outcome, schedule, send, summary


def test_arrivals_have_the_wanted_rate_and_come_from_the_seed() -> None:
    times = schedule(100, 100, seed=1)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert times == sorted(times)
    assert times == schedule(100, 100, seed=1) != schedule(100, 100, seed=2)


@pytest.fixture
def one_at_a_time() -> Iterator[str]:
    """A server that answers one request at a time, each after 0.1 s; the third with 503."""
    turn, lock = iter(range(1000)), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                time.sleep(0.1)
                self.send_response(503 if next(turn) == 2 else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_requests_do_not_wait_for_each_other_and_their_waiting_counts(one_at_a_time: str) -> None:
    outcomes = send(one_at_a_time, [b"a"], [0.0] * 5, patience=30)
    waits = sorted(each.seconds for each in outcomes)
    assert all(waits[n] >= 0.1 * (n + 1) for n in range(5))
    assert sorted(each.status for each in outcomes) == [200] * 4 + [503]


def test_a_server_that_is_gone_gives_requests_without_an_answer() -> None:
    (outcome,) = send("http://127.0.0.1:9/", [b"a"], [0.0], patience=5)
    assert outcome.status == 0


def test_the_summary_counts_each_kind_and_takes_percentiles_of_answers_alone() -> None:
    outcomes = [
        *(Outcome(0.0, 200, seconds) for seconds in (0.2, 0.4, 1.5)),
        Outcome(0.0, 503, 0.01),
        Outcome(0.002, 0, 9.0),
    ]
    found = summary(outcomes, 2.0)
    assert (found["requests"], found["answered"], found["in_time"]) == (5, 3, 2)
    assert (found["refused"], found["unanswered"], found["in_time_per_s"]) == (1, 1, 1.0)
    assert found["p50_ms"] == pytest.approx(400)
    assert found["refused_p50_ms"] == pytest.approx(10)


def test_a_summary_without_answers_has_no_percentiles() -> None:
    assert summary([Outcome(0.0, 503, 0.01)], 1.0)["p99_ms"] is None
