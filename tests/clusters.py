"""Runs a Ray cluster of several nodes on this machine, for the service and for bulk jobs."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
import yaml

from tests.cells import NAME
from tests.monitors import ROOT, free_port

CONFIG = ROOT / "docker" / "ray" / "serve.yaml"
PATIENCE_S = 300
SMALL = {"SFD_MODELS": NAME, "SFD_WORKERS": "1", "SFD_MAX_BATCH": "8"}
"""Settings for the small model. Nothing is measured at the start, as both numbers are given."""

FRUGAL = {
    "PYTHONWARNINGS": "ignore",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    # No test reads Ray's own metrics.
    "RAY_enable_metrics_collection": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
}
"""The environment of a cluster that spends little time on itself."""


class Cluster:
    """A Ray cluster without an application at first. Its proxy runs on the head node."""

    address: str
    """Where a job finds it."""

    raylets: dict[str, int]
    """The process that starts a node's workers, for each node that was added, by its id."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.raylets: dict[str, int] = {}
        self.client = httpx.Client(timeout=60)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.head = self._answer()
        self.address = self.head["address"]
        self.api = f"{self.head['dashboard']}/api/serve/applications/"

    def add_node(self, cpus: int) -> str:
        """Start a node; its id."""
        started = self._ask(f"add {cpus}")
        self.raylets[started["node"]] = started["raylet"]
        return str(started["node"])

    def kill_node(self, node: str) -> None:
        """Kill all processes of a node with SIGKILL."""
        self._ask(f"kill {node}")
        del self.raylets[node]

    def clear(self, nodes: int) -> None:
        """Remove the application, and have so many nodes, with one CPU each."""
        if self.applications():
            self.client.put(self.api, json={"applications": []}).raise_for_status()
            self.wait_until(lambda: not self.applications())
        # To start a node takes 6 s of CPU time.
        for node in list(self.raylets)[nodes:]:
            self.kill_node(node)
        while len(self.raylets) < nodes:
            self.add_node(1)

    def start_deploy(self, **arguments: Any) -> None:
        """Deploy the shipped file with these arguments instead of its own, as KubeRay does."""
        self.client.put(self.api, json=self._config(arguments)).raise_for_status()

    def deploy(self, **arguments: Any) -> None:
        """`start_deploy`; wait until it is done."""
        self.start_deploy(**arguments)
        self.wait_until(lambda: self.status() == "RUNNING")

    def serve_deploy(self, **arguments: Any) -> None:
        """As `start_deploy`, with Ray's command `serve deploy`."""
        file = self.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(self._config(arguments)), "utf-8")
        program = Path(sys.executable).with_name("serve")
        done = subprocess.run(
            [program, "deploy", "--address", self.head["dashboard"], file],
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load(CONFIG.read_text("utf-8"))
        config["proxy_location"] = "HeadOnly"
        config["http_options"] |= {"host": "127.0.0.1", "port": int(self.url.rpartition(":")[2])}
        config["applications"][0]["args"] = arguments
        return config

    def applications(self) -> dict[str, Any]:
        """What Ray says of each application, by its name."""
        found: dict[str, Any] = self.client.get(self.api).json()["applications"]
        return found

    def application(self) -> dict[str, Any]:
        """What Ray says of the application."""
        found: dict[str, Any] = self.applications()["sfd"]
        return found

    def status(self) -> str:
        """RUNNING, DEPLOYING, DEPLOY_FAILED …"""
        status: str = self.application()["status"]
        if status == "DEPLOY_FAILED":
            raise AssertionError(self.application()["message"])
        return status

    def replicas(self) -> list[dict[str, Any]]:
        """The running replicas, with replica_id, pid and node_id."""
        deployments = self.application()["deployments"]
        found = deployments["sfd"]["replicas"] if deployments else []
        return [replica for replica in found if replica["state"] == "RUNNING"]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Poll a condition; AssertionError if it never holds."""
        give_up = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up, self.applications()
            time.sleep(0.2)

    def _ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            # Ray prints too.
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise AssertionError((self.folder / "nodes.log").read_text("utf-8"))


@contextmanager
def run_cluster(environment: dict[str, str], *, dashboard: bool = True) -> Iterator[Cluster]:
    """A head node without CPUs; all processes of the cluster end with the block.

    Its nodes have this environment. Without the dashboard, no application can be deployed.
    """
    # Here, because its imports take two seconds, and most tests need no cluster.
    from service.cluster import refusals

    clean = {name: value for name, value in os.environ.items() if not name.startswith("SFD_")}
    # Short, because paths of sockets have at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="sfd-ray-", dir="/tmp"))
    ray = {
        refusals.VARIABLE: refusals.VALUE,
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
        "RAY_TMPDIR": str(folder),
    }
    with (folder / "nodes.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, ROOT / "tests" / "nodes.py", *["--dashboard"] * dashboard],
            env=clean | FRUGAL | ray | environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        cluster = Cluster(process, folder)
        with cluster.client:
            yield cluster
    finally:
        process.communicate(timeout=PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def has_ray(missing: Callable[[str], NoReturn]) -> None:
    """Skips the test if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        missing("Ray is not installed (pip install 'sfd[ray]')")


@dataclass
class Outcome:
    """The result of one request."""

    sent: float
    """By the monotonic clock."""
    seconds: float
    status: int
    """0 if there was no answer."""
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytes = b""
    error: str = ""

    @property
    def model(self) -> str:
        """The model that answered."""
        name: str = json.loads(self.body)["model"]["name"]
        return name


@contextmanager
def load(url: str, photo: bytes, clients: int, pause_s: float = 0.0) -> Iterator[list[Outcome]]:
    """Posts one picture again and again from several clients until the block ends.

    Each client waits `pause_s` after an answer.
    """
    stop = threading.Event()
    outcomes: list[Outcome] = []
    # A connection for each request, as of many users.
    client = httpx.Client(timeout=PATIENCE_S, limits=httpx.Limits(max_keepalive_connections=0))

    def post() -> None:
        while not stop.is_set():
            sent = time.monotonic()
            try:
                answer = client.post(f"{url}/detect", content=photo)
            except httpx.TransportError as error:
                outcomes.append(Outcome(sent, time.monotonic() - sent, 0, error=repr(error)))
            else:
                seconds = time.monotonic() - sent
                found = Outcome(sent, seconds, answer.status_code, answer.headers, answer.content)
                outcomes.append(found)
                if answer.status_code == 503:
                    stop.wait(float(answer.headers["Retry-After"]))
            stop.wait(pause_s)

    threads = [threading.Thread(target=post) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        client.close()


def counts(outcomes: list[Outcome]) -> dict[int, int]:
    """How many outcomes have each status."""
    return dict(Counter(outcome.status for outcome in outcomes))
