"""The tables of the default model's card are those of its evaluation.json."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def card() -> ModuleType:
    specification = importlib.util.spec_from_file_location("card", ROOT / "docs/card.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["card"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def folder(card: ModuleType, tmp_path: Path) -> Path:
    for name in ("README.md", "evaluation.json", "detectors.svg"):
        shutil.copy(card.FOLDER / name, tmp_path / name)
    return tmp_path


def test_the_card_is_up_to_date(card: ModuleType) -> None:
    assert card.main(["--check"]) == 0


def test_every_result_of_the_file_is_in_the_card(card: ModuleType) -> None:
    results = json.loads((card.FOLDER / "evaluation.json").read_text("utf-8"))
    names = {
        found[1] for found in card.MARK.findall((card.FOLDER / "README.md").read_text("utf-8"))
    }
    assert names == set(results)


def test_a_changed_number_makes_the_card_out_of_date(
    card: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder / "evaluation.json"
    results = json.loads(source.read_text("utf-8"))
    results["closeup"][0]["shares"][0]["found"] = 0.123
    source.write_text(json.dumps(results), "utf-8")
    assert card.main(["--check"], folder) == 1
    assert "out of date" in capsys.readouterr().out
    assert card.main([], folder) == 0
    assert "| 0.12 |" in (folder / "README.md").read_text("utf-8")
    assert card.main(["--check"], folder) == 0


def test_a_changed_detector_makes_the_plot_out_of_date(
    card: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, plot = folder / "evaluation.json", folder / "detectors.svg"
    results = json.loads(source.read_text("utf-8"))
    results["detectors"][0]["name"] = "renamed"
    source.write_text(json.dumps(results), "utf-8")
    assert card.main([], folder) == 0
    assert "renamed" in plot.read_text("utf-8")
    plot.unlink()
    assert card.main(["--check"], folder) == 1
    assert f"out of date: {plot}" in capsys.readouterr().out


def test_results_are_taken_from_the_files_of_the_commands(
    card: ModuleType, folder: Path, tmp_path: Path
) -> None:
    detectors = {"name": "one", "average_precision": {"easy": 0.9}, "parameters": 2_000_000,
                 "macs": 5_000_000_000, "milliseconds": 60.0}  # fmt: skip
    row = {"corruption": "fog", "severity": 1, "model": "one", "average_precision": {"easy": 0.8}}
    empty = {"images": 9, "score": 0.7, "boxes": 1234, "at_recall": {"0.5": 0, "0.7": 12}}
    files = {
        "a.json": {"detectors": [detectors]},
        "b.json": {"corruptions": [row]},
        "c.json": {
            "detectors": [
                detectors | {"average_precision": {"photographs": 0.1}, "false_boxes": empty}
            ]
        },
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    page = folder / "README.md"
    marks = "".join(f"<!-- generated: {name} -->\n<!-- /generated -->\n" for name in card.TABLES)
    page.write_text(marks, "utf-8")
    assert card.main(["--take", *(str(tmp_path / name) for name in files)], folder) == 0
    assert "| one | 0.900 | 2.00 M | 5.00 | 60 |" in page.read_text("utf-8")
    assert "| fog | one | 0.800 |" in page.read_text("utf-8")
    assert "| one | 0 | – | 12 | – | – | 1,234 (from 0.7) |" in page.read_text("utf-8")


def test_a_file_without_results_is_refused(
    card: ModuleType, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text("{}")
    before = (folder / "evaluation.json").read_bytes()
    assert card.main(["--take", str(tmp_path / "other.json")], folder) == 1
    assert "has no results" in capsys.readouterr().err
    assert (folder / "evaluation.json").read_bytes() == before
