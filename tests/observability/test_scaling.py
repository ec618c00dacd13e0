"""The queries of KEDA give what KEDA needs, in a real Prometheus that scrapes the real service."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.monitors import ROOT, free_port, run_prometheus

SCALED = ROOT / "docker" / "kubernetes" / "overlays" / "keda" / "scaledobject.yaml"
PHOTO = (ROOT / "service" / "static" / "sample.jpg").read_bytes()

Values = dict[str, list[float]]


def ask(monitor: str, query: str) -> list[float]:
    """The value of each series that a query gives."""
    answer = httpx.get(f"{monitor}/api/v1/query", params={"query": query}, timeout=30)
    return [float(series["value"][1]) for series in answer.json()["data"]["result"]]


def values(monitor: str) -> Values:
    """What each query of KEDA gives now, by the name of its trigger."""
    triggers = yaml.safe_load(SCALED.read_text("utf-8"))["spec"]["triggers"]
    return {trigger["name"]: ask(monitor, trigger["metadata"]["query"]) for trigger in triggers}


def wait(monitor: str, wanted: Callable[[Values], bool]) -> None:
    """Until the values are as wanted, at most a minute."""
    until = time.monotonic() + 60
    while not wanted(found := values(monitor)):
        assert time.monotonic() < until, found
        time.sleep(0.5)


@pytest.fixture
def service(running_service: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """The service with the default model."""
    with running_service() as url:
        yield url


def test_every_query_gives_zero_without_traffic_and_more_with_it(
    service: str, prometheus: str, tmp_path: Path
) -> None:
    def all_above_zero(found: Values) -> bool:
        httpx.post(f"{service}/detect", content=PHOTO, timeout=60).raise_for_status()
        return all(len(numbers) == 1 and numbers[0] > 0 for numbers in found.values())

    targets = [{"targets": [service.removeprefix("http://")]}]
    with run_prometheus(prometheus, {"static_configs": targets}, tmp_path) as monitor:
        # Exactly one number, as KEDA demands, and not NaN.
        wait(monitor, lambda found: all(numbers == [0.0] for numbers in found.values()))
        wait(monitor, all_above_zero)


def test_every_query_gives_nothing_if_no_detector_can_be_scraped(
    prometheus: str, tmp_path: Path
) -> None:
    # Nothing is an error for KEDA, which then keeps its pods. Zero would remove them.
    targets = [{"targets": [f"127.0.0.1:{free_port()}"]}]
    with run_prometheus(prometheus, {"static_configs": targets}, tmp_path) as monitor:
        until = time.monotonic() + 60
        while ask(monitor, 'up{job="sfd"}') != [0.0]:
            assert time.monotonic() < until
            time.sleep(0.5)
        assert set(map(tuple, values(monitor).values())) == {()}
