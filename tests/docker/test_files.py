"""The Dockerfile and the compose file are clean, and their numbers fit together."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]


def _seconds(period: str) -> int:
    return int(period.removesuffix("s"))


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("profile", ["", "scale", "gpu"])
def test_compose_accepts_the_file_without_a_warning(
    engine: None, run: Callable[..., str], profile: str
) -> None:
    command = ["docker", "compose", "--profile", profile, "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_service_is_hardened_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["ulimits"]["nofile"] <= 20000
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_port_is_published_only_on_the_loopback_address(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", ["detector", "replica", "detector-gpu"])
def test_docker_waits_longer_than_the_service_drains(name: str) -> None:
    service = SERVICES[name]
    grace = float(service["environment"]["SFD_SHUTDOWN_GRACE_S"])
    assert _seconds(service["stop_grace_period"]) >= grace + 5


def test_balancer_waits_longer_for_requests_than_a_detector_takes_to_drain() -> None:
    grace = _seconds(SERVICES["balancer"]["stop_grace_period"])
    assert grace > float(SERVICES["detector"]["environment"]["SFD_SHUTDOWN_GRACE_S"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_foreign_image_is_pinned_to_a_version(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert image == "sfd" or tag.lstrip("v")[0].isdigit()


def test_graphics_card_is_reserved_only_in_its_profile() -> None:
    reserved = {n for n, s in SERVICES.items() if "reservations" in s["deploy"]["resources"]}
    assert reserved == {"detector-gpu"}
    assert SERVICES["detector-gpu"]["profiles"] == ["gpu"]


def test_no_page_in_a_browser_can_stop_prometheus_or_delete_its_data() -> None:
    # A browser sends a POST to 127.0.0.1 for any page. SIGHUP reloads the rules instead.
    options = SERVICES["prometheus"]["command"]
    assert options
    assert not any(re.match("--web.enable-(lifecycle|admin-api)", option) for option in options)
