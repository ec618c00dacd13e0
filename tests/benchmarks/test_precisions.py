"""The speeds of the precisions: what can run here runs, and what can't has a reason."""

from pathlib import Path

import pytest

from benchmarks.precisions import contestants, main
from store.model import load


def test_float32_on_the_cpu_runs_first_and_the_others_have_their_reasons(
    built_model: Path,
) -> None:
    peers, reasons = contestants(load(built_model.parent), threads=1)
    assert peers[0].name == "cpu, float32"
    peers[0].run()
    assert len(peers) + len(reasons) == 5, "two precisions of the CPU, three of OpenVINO"


def test_the_table_has_a_line_for_each(
    built_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", str(built_model.parent.parent), "--rounds", "1"]) == 0
    shown = capsys.readouterr()
    assert "cpu, float32" in shown.out
    assert "left out: " in shown.err


def test_an_unknown_model_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", str(tmp_path), "--model", "nobody"]) == 1
    assert capsys.readouterr().err.startswith("precisions: no model 'nobody'")
