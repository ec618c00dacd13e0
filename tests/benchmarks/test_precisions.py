"""The speeds of the precisions: what can run here runs, and what can't has a reason."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.precisions import accuracies, contestants, main
from sfd.errors import UsageError
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


def test_the_measurements_are_written_with_their_accuracy(
    built_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation, out = tmp_path / "results.json", tmp_path / "precisions.json"
    evaluation.write_text('{"subsets": {"hard": {"average_precision": 0.7}}}')
    given = ["--store", str(built_model.parent.parent), "--rounds", "1", "--out", str(out)]
    assert main([*given, "--evaluation", "cpu, float32", str(evaluation)]) == 0
    first = json.loads(out.read_text())["rows"][0]
    assert (first["name"], first["ratio"], first["accuracy"]) == (
        "cpu, float32",
        1.0,
        {"hard": 0.7},
    )
    capsys.readouterr()
    assert main(given) == 2
    assert capsys.readouterr().err == (f"precisions: {out} exists; name another file with --out\n")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("cpu, int4", "{}", "--evaluation cpu, int4: was not measured; cpu, float32 were"),
        ("cpu, float32", "[]", "is not a results.json of `sfd evaluate`"),
        ("cpu, float32", None, "cannot be read: No such file or directory"),
    ],
)
def test_an_accuracy_of_something_else_is_refused(
    tmp_path: Path, name: str, text: str | None, reason: str
) -> None:
    file = tmp_path / "results.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=re.escape(reason)):
        accuracies([(name, str(file))], ["cpu, float32"])
