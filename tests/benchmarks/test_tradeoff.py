"""Speed against accuracy of the precisions, as it is published."""

from pathlib import Path

import pytest

from benchmarks import tradeoff

FOUND = {
    "rows": [
        {
            "name": "cpu, float32",
            "median_ms": 30.0,
            "low_ms": 29.0,
            "high_ms": 40.0,
            "ratio": 1.0,
            "accuracy": {"easy": 0.9, "medium": 0.8, "hard": 0.7},
        },
        {
            "name": "cpu, int8",
            "median_ms": 20.0,
            "low_ms": 19.0,
            "high_ms": 21.0,
            "ratio": 0.8,
            "accuracy": {},
        },
    ]
}


def test_the_table_gives_the_speed_relative_to_the_first_line() -> None:
    lines = tradeoff.costs(FOUND).splitlines()
    assert lines[2] == "| cpu, float32 | 30.0 (29.0–40.0) | 1.00 | 0.9000 | 0.8000 | 0.7000 |"
    assert lines[3] == "| cpu, int8 | 20.0 (19.0–21.0) | 1.25 | – | – | – |"


def test_the_plot_names_what_has_an_accuracy() -> None:
    drawn = tradeoff.plot(FOUND).decode()
    assert "cpu, float32" in drawn
    assert "cpu, int8" not in drawn
    assert drawn == tradeoff.plot(FOUND).decode()


def test_the_published_plot_shows_the_published_measurements() -> None:
    drawn = tradeoff.PLOT.read_text("utf-8")
    assert tradeoff.digest(tradeoff.read()) in drawn, "run `python -m benchmarks.tradeoff`"


def test_another_file_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    other.write_text("[]")
    assert tradeoff.main([str(other)]) == 1
    assert capsys.readouterr().err == (
        f"tradeoff: {other}: is not a file of `python -m benchmarks.precisions --out`\n"
    )
