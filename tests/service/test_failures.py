"""Failures inside and around the service: documented answers, and automatic recovery.

Real processes, and real models that are made to fail. Inference runs in threads, so killing one of
its workers means killing the process.
"""

import asyncio
import io
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sfd.files import sha256
from tests.reliability import processes
from tests.servers import Command, Server, StartServer

Cells = Callable[..., bytes]
Sleeping = Callable[[object], str]

POISON = 15
"""The cell that makes the faulty models fail; all other images work."""


def break_model(folder: Path, fault: str) -> None:
    """Make a model's inference "raise" or give "nan" scores where the cell POISON is white."""
    model = onnx.load(folder / "model.onnx")
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = ["good" if name == "scores" else name for name in names]
    graph.initializer.extend(
        numpy_helper.from_array(values, name)
        for name, values in (
            ("poison", np.asarray([POISON], np.int64)),
            ("half", np.asarray(0.5, np.float32)),
            ("no", np.asarray(0, np.float32)),
            ("table", np.zeros(1, np.float32)),
        )
    )
    graph.node.append(helper.make_node("Gather", ["good", "poison"], ["cell"], axis=1))
    if fault == "raise":
        # An index beyond the table of one entry, which onnxruntime refuses at run time.
        graph.node.append(helper.make_node("Cast", ["cell"], ["index"], to=TensorProto.INT64))
        graph.node.append(helper.make_node("Gather", ["table", "index"], ["trouble"]))
    else:
        # log(0.5 - 1)
        graph.node.append(helper.make_node("Sub", ["half", "cell"], ["less"]))
        graph.node.append(helper.make_node("Log", ["less"], ["trouble"]))
    graph.node.append(helper.make_node("Mul", ["trouble", "no"], ["nothing_or_nan"]))
    graph.node.append(helper.make_node("Add", ["good", "nothing_or_nan"], ["scores"]))
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    build = json.loads((folder / "build.json").read_text())
    build["sha256"] = sha256(folder / "model.onnx")
    (folder / "build.json").write_text(json.dumps(build))


@pytest.fixture
def own_store(tmp_path: Path, write_small_model: Callable[[Path], Path]) -> Path:
    """A store that a test may break."""
    write_small_model(tmp_path / "own")
    return tmp_path / "own"


def post_all(url: str, bodies: list[bytes]) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            return await asyncio.gather(*(client.post("/detect", content=b) for b in bodies))

    return asyncio.run(ask())


# --- the model


@pytest.mark.parametrize("fault", ["raise", "nan"])
def test_inference_that_fails_for_one_image_fails_that_image_alone(
    start_server: Any, own_store: Path, bright_cells: Cells, fault: str
) -> None:
    break_model(own_store / "cells", fault)
    good, bad = bright_cells(2), bright_cells(2, POISON)
    with start_server(MODEL_STORE=own_store, MAX_BATCH=4, MAX_WAIT_MS=500) as server:
        answers = post_all(server.url, [good, bad, good, good])
        assert [answer.status_code for answer in answers] == [200, 500, 200, 200]
        problem = answers[1].json()
        assert answers[1].headers["content-type"] == "application/problem+json"
        assert problem["type"] == "internal-error"
        assert problem["detail"] == "the model failed on this image; the log says more"

        files = [("a", good), ("b", bad)]
        several = httpx.post(f"{server.url}/detect", files=files, timeout=20)
        assert several.status_code == 200
        first, second = several.json()["results"]
        assert len(first["faces"]) == 1
        assert second["error"]["status"] == 500

        assert httpx.get(f"{server.url}/readyz").status_code == 200
        server.wait_until_idle()
        found = server.metrics()
        assert found['sfd_requests_total{route="/detect",status="500"}'] == 1
        assert found['sfd_rejected_total{reason="internal-error"}'] == 2
        errors = [
            line
            for line in map(json.loads, server.complete_log().splitlines())
            if line["level"] == "error"
        ]
        assert errors
        assert all("inference of cells failed: " in line["message"] for line in errors)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "sha256"),
        (lambda folder: os.truncate(folder / "model.onnx", 900), "sha256"),
        (lambda folder: (folder / "model.onnx").unlink(), "sfd models build cells"),
        (lambda folder: (folder / "build.json").unlink(), "sfd models build cells"),
        (lambda folder: (folder / "build.json").write_text("{"), "build.json"),
        (lambda folder: (folder / "model.toml").write_text("name = "), "model.toml"),
        (lambda folder: (folder / "weights.caffemodel").write_bytes(b"other"), "sha256"),
    ],
    ids=["emptied", "cut", "gone", "build gone", "build broken", "toml broken", "other weights"],
)
def test_a_model_damaged_before_the_start_prevents_it_with_one_line(
    command: Command, own_store: Path, damage: Callable[[Path], object], says: str
) -> None:
    damage(own_store / "cells")
    check_start_failed(command(SFD_MODEL_STORE=str(own_store)), says)


def test_a_new_process_says_so_too(own_store: Path) -> None:
    """In the forks of the other starts, the server is imported before the model is opened."""
    (own_store / "cells" / "model.onnx").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        env=os.environ
        | {"SFD_MODEL_STORE": str(own_store), "SFD_MODELS": "cells", "SFD_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    check_start_failed(done, "sha256")


def check_start_failed(done: "subprocess.CompletedProcess[str]", says: str) -> None:
    """Beside the log, a single line says why."""
    assert done.returncode == 1
    (line,) = (each for each in done.stderr.splitlines() if not each.startswith("{"))
    assert line.startswith("sfd serve: ")
    assert says in line


def test_a_model_damaged_after_the_start_matters_only_at_the_next_start(
    start_server: Any, own_store: Path, bright_cells: Cells
) -> None:
    with start_server(MODEL_STORE=own_store) as server:
        # In place: the process must not have mapped the file.
        with (own_store / "cells" / "model.onnx").open("r+b") as file:
            file.write(bytes(4096))
            file.truncate(4096)
        (own_store / "cells" / "build.json").unlink()
        answer = httpx.post(f"{server.url}/detect", content=bright_cells(4))
        assert len(answer.json()["faces"]) == 1
        assert httpx.get(f"{server.url}/models/cells").status_code == 200
        assert httpx.get(f"{server.url}/readyz").status_code == 200


# --- the process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def test_a_process_killed_during_a_batch_is_replaced_automatically(
    tmp_path: Path, sleeping: Sleeping, store: Path, bright_cells: Cells
) -> None:
    # Like Docker's `restart: unless-stopped`: start it again whenever it ends.
    serve = "import runpy; runpy.run_module('service', run_name='__main__', alter_sys=True)"
    slow = "10 * __import__('pathlib').Path('slow').exists()"
    supervisor = 'echo $$ > boss; while :; do "$@" & echo $! > pid; wait $!; done'
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_PORT": str(port)}
    with (tmp_path / "log").open("w") as log:
        boss = subprocess.Popen(
            [
                "sh",
                "-c",
                supervisor,
                "sh",
                sys.executable,
                "-c",
                sleeping(slow) + serve,
            ],
            env=os.environ | environment,
            stderr=log,
            cwd=tmp_path,
        )
    try:
        wait_until_ready(url)
        (tmp_path / "slow").touch()
        with ThreadPoolExecutor(6) as pool:
            asked = [
                pool.submit(httpx.post, f"{url}/detect", content=bright_cells(1), timeout=20)
                for _ in range(6)
            ]
            wait_until(lambda: "sfd_in_flight 7.0" in httpx.get(f"{url}/metrics").text)
            killed = int((tmp_path / "pid").read_text())
            os.kill(killed, signal.SIGKILL)
            ended = time.monotonic()
            for future in asked:
                with pytest.raises(httpx.TransportError):
                    future.result()
        assert time.monotonic() - ended < 5
        (tmp_path / "slow").unlink()
        wait_until_ready(url)
        assert int((tmp_path / "pid").read_text()) != killed
        answer = httpx.post(f"{url}/detect", content=bright_cells(1), timeout=20)
        assert len(answer.json()["faces"]) == 1
    finally:
        boss.kill()
        boss.wait()
        with suppress(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            if true():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_ready(url: str) -> None:
    wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200)


def test_sigterm_under_load_answers_each_accepted_request(
    start_server: Any, sleeping: Sleeping, bright_cells: Cells
) -> None:
    with start_server(sleeping(0.05), MAX_BATCH=2) as server:
        seen: Counter[object] = Counter()
        lost: list[str] = []
        numbers = itertools.count()

        def load() -> None:
            # A connection for each request: one that is kept open may be closed between two.
            while True:
                name = f"load-{next(numbers)}"
                try:
                    answer = httpx.post(
                        f"{server.url}/detect",
                        content=bright_cells(1),
                        headers={"X-Request-ID": name},
                        timeout=20,
                    )
                except httpx.ConnectError:
                    return
                except httpx.TransportError:
                    # The kernel had accepted the connection, but the closing service had not.
                    lost.append(name)
                    return
                seen[answer.status_code] += 1
                if answer.status_code == 503:
                    assert answer.json()["detail"] == "the service is shutting down"
                    assert answer.headers["retry-after"]

        with ThreadPoolExecutor(8) as pool:
            loads = [pool.submit(load) for _ in range(8)]
            wait_until(lambda: seen[200] >= 10)
            server.process.send_signal(signal.SIGTERM)
            with suppress(httpx.TransportError):  # as balancers see it a moment later
                answer = httpx.get(f"{server.url}/readyz")
                assert (answer.status_code, answer.json()["status"]) == (503, "draining")
            server.process.send_signal(signal.SIGTERM)
            for future in loads:
                future.result()
        assert set(seen) <= {200, 503}
        assert server.process.wait(20) == 0
        log = server.log.read_text()
        assert "load-0" in log
        assert not [name for name in lost if f'"{name}"' in log]
        assert "Traceback" not in log


@pytest.mark.parametrize("how", ["the grace time ends", "a second SIGINT"])
def test_requests_cut_off_at_shutdown_get_503_and_the_exit_code_is_0(
    start_server: Any, sleeping: Sleeping, bright_cells: Cells, how: str
) -> None:
    grace = 1 if how == "the grace time ends" else 30
    with (
        start_server(
            sleeping("4 * bool(images[0].max() == 255)"),
            MAX_BATCH=1,
            SHUTDOWN_GRACE_S=grace,
        ) as server,
        ThreadPoolExecutor(3) as pool,
    ):
        asked = [
            pool.submit(httpx.post, f"{server.url}/detect", content=bright_cells(1), timeout=20)
            for _ in range(3)
        ]
        server.wait_for("sfd_queue_depth", 2)
        started = time.monotonic()
        for _ in range(1 if grace == 1 else 2):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        for future in asked:
            answer = future.result()
            assert answer.status_code == 503
            assert answer.json()["type"] == "overloaded"
            assert answer.headers["retry-after"]
        assert server.process.wait(20) == 0
        # The service waits for the hanging batch, which ends within HANG_S of the grace time. The
        # other two are not begun.
        assert time.monotonic() - started < 11
    if grace == 1:
        assert "Traceback" not in server.log.read_text()


def test_a_hanging_inference_does_not_keep_the_process_alive(
    start_server: Any, sleeping: Sleeping, bright_cells: Cells
) -> None:
    hang = sleeping("0 if len(images) > 1 or not images[0].max() == 255 else 600")
    with start_server(
        hang + "\nimport service.server as s; s.HANG_S = 0.5",
        REQUEST_TIMEOUT_S=1,
        SHUTDOWN_GRACE_S=0.5,
    ) as server:
        answer = httpx.post(f"{server.url}/detect", content=bright_cells(1), timeout=20)
        assert answer.status_code == 504
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 1
        assert "an inference hangs" in server.log.read_text().splitlines()[-1]


@cache
def slow_image() -> bytes:
    """A small file whose samples take seconds of CPU time to scale."""
    out = io.BytesIO()
    Image.fromarray(np.ones((6500, 6500), np.float32)).save(
        out, "TIFF", compression="tiff_adobe_deflate"
    )
    return out.getvalue()


def test_an_image_over_its_cpu_time_is_refused_and_the_others_are_not(
    start_server: Any, bright_cells: Cells
) -> None:
    with start_server(DECODE_CPU_S=0.3) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            httpx.post,
            f"{server.url}/detect",
            content=slow_image(),
            headers={"X-Request-ID": "slow"},
            timeout=60,
        )
        while not asked.done():
            good = httpx.post(f"{server.url}/detect", content=bright_cells(1, 2), timeout=60)
            assert len(good.json()["faces"]) == 2
        answer = asked.result()
        assert (answer.status_code, answer.json()["type"]) == (422, "too-expensive")
        assert answer.json()["detail"].startswith("this image takes too long to decode")
        found = server.metrics()
        assert found['sfd_decoders_stopped_total{reason="cpu"}'] == 1
        assert found['sfd_rejected_total{reason="too-expensive"}'] == 1
        lines = [json.loads(line) for line in server.complete_log().splitlines()]
    (stopped,) = [line for line in lines if "stopped a decoder" in line["message"]]
    assert (stopped["level"], stopped["request_id"]) == ("warning", "slow")


def test_sigterm_ends_the_service_in_its_grace_time_while_images_are_decoded(
    start_server: Any,
) -> None:
    with (
        start_server(SHUTDOWN_GRACE_S=0.5, DECODE_CPU_S=60) as server,
        ThreadPoolExecutor(4) as pool,
    ):

        def post(_: int) -> int:
            return httpx.post(f"{server.url}/detect", content=slow_image(), timeout=60).status_code

        asked = [pool.submit(post, number) for number in range(4)]
        latest = time.monotonic() + 20
        while server.metrics()["sfd_decoders_cpu_seconds"] < 0.5:
            assert time.monotonic() < latest
        decoders = processes.descendants(server.process.pid)
        assert len(decoders) >= 2
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 0
        statuses = Counter(each.result(10) for each in asked)
        assert statuses[503] >= 1
        assert set(statuses) <= {200, 503}
        assert "cannot" not in server.log.read_text()
    assert not any(processes.held(each).processes for each in decoders)


@cache
def large_image() -> bytes:
    """A small file whose pixels take 147 MB."""
    out = io.BytesIO()
    Image.new("RGB", (7000, 7000), "red").save(out, "PNG", compress_level=1)
    return out.getvalue()


@pytest.fixture(scope="module", params=["processes", "threads"])
def decoding_server(
    start_for_module: StartServer, request: pytest.FixtureRequest
) -> Iterator[Server]:
    """A service that decodes in processes or in threads."""
    with start_for_module(COMPAT="deepstack,compreface", DECODING=request.param) as server:
        yield server


@pytest.fixture
def lacking_memory(decoding_server: Server, bright_cells: Cells) -> Server:
    """A service of which whatever decodes may take only 60 MiB more memory."""
    if sys.platform != "linux":
        pytest.skip("limits another process, which only Linux can")
    server = decoding_server
    assert httpx.post(f"{server.url}/detect", content=bright_cells(1)).status_code == 200
    # Of the process that forks the decoders, of these, or of the service itself.
    for each in processes.descendants(server.process.pid) or [server.process.pid]:
        status = Path(f"/proc/{each}/status").read_text()
        held = 1024 * int(status.split("VmSize:")[1].split()[0])
        resource.prlimit(each, resource.RLIMIT_AS, (held + 60 * 2**20, -1))
    return server


@pytest.mark.parametrize(
    ("path", "field", "member"),
    [
        ("/detect", "image", "type"),
        ("/v1/vision/face", "image", "error"),
        ("/api/v1/detection/detect", "file", "message"),
    ],
)
def test_a_good_picture_for_which_memory_is_lacking_is_a_503(
    lacking_memory: Server, bright_cells: Cells, path: str, field: str, member: str
) -> None:
    server = lacking_memory
    refused = 'sfd_rejected_total{reason="out-of-memory"}'
    before = server.metrics().get(refused, 0)
    files = {field: ("a.png", large_image())}
    answer = httpx.post(f"{server.url}{path}", files=files, timeout=60)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert "memory" in answer.json()[member]
    assert httpx.post(f"{server.url}/detect", content=bright_cells(1)).status_code == 200
    assert server.metrics()[refused] == before + 1
    assert "Traceback" not in server.complete_log()
