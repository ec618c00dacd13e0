"""The compose stack as a user starts it, tested from the host."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.docker.conftest import Stack

ROOT = Path(__file__).resolve().parents[2]
Eventually = Callable[[Callable[[], object], float], object]


@pytest.mark.parametrize("service", ["detector", "replica", "balancer", "prometheus", "grafana"])
def test_service_turns_healthy(stack: "Stack", service: str) -> None:
    assert stack.inspect(service)["State"]["Health"]["Status"] == "healthy"


@pytest.mark.parametrize("door", ["detector", "balancer"])
def test_photograph_posted_from_the_host_gets_its_face(
    stack: "Stack", photo: Path, door: str
) -> None:
    answer = httpx.post(f"{getattr(stack, door)}/detect", content=photo.read_bytes(), timeout=60)
    assert answer.status_code == 200
    [face] = answer.json()["faces"]
    # The astronaut's face, in a 512 x 512 portrait.
    assert face["score"] > 0.5
    assert 180 < face["box"]["x"] + face["box"]["width"] / 2 < 270
    assert 60 < face["box"]["y"] + face["box"]["height"] / 2 < 170


def test_balancer_shows_the_page_and_hides_the_metrics(stack: "Stack") -> None:
    assert httpx.get(f"{stack.balancer}/").status_code == 200
    for path in ("/metrics", "/metrics/", "/metrics/targets"):
        assert httpx.get(f"{stack.balancer}{path}").status_code == 404


def test_balancer_lets_the_service_state_its_own_byte_limit(stack: "Stack") -> None:
    answer = httpx.post(f"{stack.balancer}/detect", content=bytes(21 * 2**20), timeout=60)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_prometheus_has_scraped_every_detector(stack: "Stack", eventually: Eventually) -> None:
    # A restarted detector counts as down until the next scrape.
    eventually(lambda: len(stack.query('up{job="sfd"} == 1')) == 3, 60)
    answered = 'sfd_requests_total{route="/detect", status="200"}'
    eventually(lambda: len(stack.query(answered)) >= 1, 60)


def test_every_query_of_dashboard_and_rules_returns_data(
    stack: "Stack", photo: Path, eventually: Eventually
) -> None:
    def post(content: bytes) -> None:
        # A 413 comes before everything is sent, and may be lost when the connection then closes.
        with suppress(httpx.TransportError):
            httpx.post(f"{stack.detector}/detect", content=content, timeout=60)

    def answered() -> bool:
        # Good and bad requests over more than two scrapes, so that every rate has samples.
        with ThreadPoolExecutor(4) as clients:
            list(clients.map(post, [photo.read_bytes(), b"no image", bytes(21 * 2**20)] * 4))
        command = [sys.executable, str(ROOT / "docker/check_queries.py"), stack.prometheus]
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stdout, done.stderr)
        return done.returncode == 0

    eventually(answered, 150)


def test_grafana_has_prometheus_and_its_dashboard(stack: "Stack") -> None:
    """With a stub instead of Grafana, this proves only mounts, network and user."""
    answer = httpx.get(f"{stack.grafana}/api/health")
    assert answer.status_code == 200
    if "dashboards" in answer.json():
        assert answer.json() == {"dashboards": ["sfd"], "home": True, "prometheus": 200}


def test_write_to_the_root_file_system_is_refused(stack: "Stack") -> None:
    with pytest.raises(AssertionError, match="Read-only file system"):
        stack.compose("exec", "-T", "detector", "python", "-c", "open('/opt/venv/x', 'w')")
    stack.compose("exec", "-T", "detector", "python", "-c", "open('/tmp/x', 'w')")


def _status(stack: "Stack") -> dict[str, Any]:
    """The kernel's status of process 1 in the detector."""
    text = stack.compose("exec", "-T", "detector", "cat", "/proc/1/status")
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_process_is_not_root_and_cannot_gain_capabilities(stack: "Stack") -> None:
    status = _status(stack)
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert {status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


def test_limits_of_the_compose_file_are_in_force(stack: "Stack") -> None:
    limits = stack.inspect("detector")["HostConfig"]
    assert limits["Memory"] == 3 * 2**30
    assert limits["NanoCpus"] > 0
    assert limits["PidsLimit"] == 256
    assert limits["ReadonlyRootfs"] is True


@pytest.mark.parametrize("name", ["prometheus", "grafana", "balancer"])
def test_other_containers_run_without_root_too(stack: "Stack", name: str) -> None:
    assert stack.compose("exec", "-T", name, "id", "-u") != "0"
