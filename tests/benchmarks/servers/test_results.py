"""Results, and the values and pictures that follow from them."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import tables
from benchmarks.servers.measurements import best_peer, median, peak, ratio
from benchmarks.servers.plots import PLOTS, digest
from benchmarks.servers.results import PUBLISHED, RESULTS, Results
from benchmarks.servers.targets import TARGETS
from sfd.errors import SfdError


def saturation(turn: int, server: str, **rates: float) -> list[dict[str, Any]]:
    """Cells with the images per second of numbers of clients: c1=20."""
    return [
        {
            "round": turn,
            "server": server,
            "cell": f"saturation {clients[1:]}",
            "images_per_s": rate,
            "pss_mb": 100.0 + turn,
        }
        for clients, rate in rates.items()
    ]


CELLS = [
    *saturation(0, "ours", c1=20.0, c4=30.0),
    *saturation(0, "mosec", c4=25.0),
    *saturation(0, "litserve", c4=20.0),
    *saturation(1, "ours", c1=12.0, c4=10.0),
    *saturation(1, "mosec", c4=10.0),
    *saturation(1, "litserve", c4=12.0),
]


def test_the_peak_is_that_of_the_best_number_of_clients() -> None:
    assert peak(Results(None, {"cells": CELLS}), "ours") == {0: 30.0, 1: 12.0}


def test_a_resumed_run_keeps_the_highest_load_of_the_machine() -> None:
    results = Results(None, {"machine": {}})
    for load in (0.2, 1.5, 0.3):
        results.note_load(load)
    assert results.data["machine"] == {"load_before": 1.5}


def test_ratios_are_taken_within_a_round_with_the_best_peer_of_that_round() -> None:
    results = Results(None, {"cells": CELLS})
    best = best_peer(results, lambda name: peak(results, name))
    assert best == {0: 25.0, 1: 12.0}
    assert ratio(peak(results, "ours"), best) == {0: 1.2, 1: 1.0}
    assert median(ratio(peak(results, "ours"), best)) == pytest.approx(1.1)


def test_a_measurement_replaces_an_earlier_one_and_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    results = Results.create(path, {"rounds": 1}, resume=False)
    results.data["wrk"] = "wrk 4"
    results.add(0, "ours", "overload", {"p50_ms": 1.0})
    results.add(0, "ours", "overload", {"p50_ms": 2.00001})
    assert Results.read(path).data["cells"] == [
        {"round": 0, "server": "ours", "cell": "overload", "p50_ms": 2.0}
    ]
    assert Results.read(path).data["wrk"] == "wrk 4"
    assert Results.create(path, {"rounds": 1}, resume=True).has(0, "ours", "overload")


def test_results_are_not_overwritten_nor_mixed_with_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    Results.create(path, {"rounds": 1}, resume=False).save()
    with pytest.raises(SfdError, match="--resume"):
        Results.create(path, {"rounds": 1}, resume=False)
    with pytest.raises(SfdError, match="other settings"):
        Results.create(path, {"rounds": 2}, resume=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 0}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content, "utf-8")
    with pytest.raises(SfdError, match="is not a file of"):
        Results.read(path)


def test_a_failed_server_is_noted_in_the_tables() -> None:
    results = Results.read(RESULTS)
    failed = {"round": 0, "server": "mosec", "cell": "failed", "error": "it ended\nwith a log"}
    results.data["cells"] = [failed]
    assert "| failed: mosec | it ended |" in tables.conditions(results)
    assert tables.report(results).count("| – |") >= len(TARGETS)


def test_a_p50_of_refusals_is_not_shown() -> None:
    results = Results.read(RESULTS)
    cell = {"round": 0, "server": "ours", "cell": "size 12 MP", "images_per_s": 5.0,
            "cpu_ms": 200.0, "pss_mb": 250.0, "p50_ms": 12.3, "answered": 10,
            "refused": 9}  # fmt: skip
    results.data["cells"] = [cell]
    assert "| 5.0 | 200 | 12 | 250 |" in tables.costs(results)
    results.data["cells"] = [cell | {"refused": 11}]
    assert "| 5.0 | 200 | – | 250 |" in tables.costs(results)


@pytest.mark.parametrize("name", PLOTS)
def test_the_published_pictures_were_drawn_from_the_published_results(name: str) -> None:
    drawn = (PUBLISHED / f"{name}.svg").read_text("utf-8")
    assert digest(Results.read(RESULTS)) in drawn, "run `sfd bench servers publish`"
