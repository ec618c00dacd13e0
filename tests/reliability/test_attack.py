"""The attack benchmark counts what it should; its figures are for a quiet machine."""

from collections.abc import Callable
from pathlib import Path

from tests.reliability.attack import measure
from tests.reliability.hostile import SETTINGS
from tests.reliability.pictures import Hostile, ask_alone
from tests.reliability.service import running


def test_the_attack_benchmark_measures_both_loads_and_the_attackers(
    store: Path, tmp_path: Path, bright_cells: Callable[..., bytes]
) -> None:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_THREADS": "1"}
    with running(tmp_path, environment | SETTINGS) as (process, _):
        good = ask_alone(process.url, {"cell": bright_cells(5)})
        found = measure(process, good, [Hostile("text", b"no picture")], rounds=1, seconds=1)
    assert found["without"]["attackers"] == {}
    assert list(found["attacked"]["attackers"]) == ["415"]
    for name in ("without", "attacked"):
        assert found[name]["good"] > 0
        assert found[name]["wrong"] == 0
        assert 0 < found[name]["p50_ms"] <= found[name]["p99_ms"]
        assert found[name]["memory_mb"] > 20
    assert found["p99_ratios"] == [found["p99_ratio"]]
