"""The attack benchmark counts what it should; its figures are for a quiet machine."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reliability.attack import measure
from tests.reliability.hostile import SAMPLE, SETTINGS
from tests.reliability.pictures import Hostile, ask_alone, made, stored
from tests.reliability.service import running


def test_the_attack_benchmark_measures_all_loads_and_the_attackers(
    store: Path, tmp_path: Path, bright_cells: Callable[..., bytes]
) -> None:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_THREADS": "1"}
    with running(tmp_path, environment | SETTINGS) as (process, _):
        good = ask_alone(process.url, {"cell": bright_cells(5)})
        found = measure(process, good, [Hostile("text", b"no picture")], rounds=1, seconds=1)
    assert found["without"]["attackers"] == {}
    assert list(found["attacked"]["attackers"]) == ["415"]
    for name in ("without", "fewer", "attacked"):
        assert found[name]["good"] > 0
        assert found[name]["wrong"] == 0
        assert 0 < found[name]["p50_ms"] <= found[name]["p99_ms"]
        assert found[name]["memory_mb"] > 20
    for name, other in (("p99_ratio", "without"), ("p99_ratio_to_fewer", "fewer")):
        expected = found["attacked"]["p99_ms"] / found[other]["p99_ms"]
        assert found[name] == pytest.approx(expected, abs=0.02)


@pytest.mark.soak
def test_attackers_do_not_double_the_p99_of_good_photographs(
    built_model: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [*made(5), *stored(shared / "cases/images")]
    with running(tmp_path, {}) as (process, _):
        good = ask_alone(process.url, {"sample": SAMPLE.read_bytes()})
        found = measure(process, good, files, rounds=3, seconds=20)
    with capsys.disabled():
        print(json.dumps(found, indent=1))
    assert found["attacked"]["wrong"] == 0
    assert found["p99_ratio"] <= 2
