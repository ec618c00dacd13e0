"""Corrupted images: the same in every run, stronger with the severity, measured in a table."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from benchmarks import corruptions
from geometry.arrays import F32

SAMPLE = Path(__file__).resolve().parents[2] / "service/static/sample.jpg"


@pytest.fixture(autouse=True)
def _installed(missing: Callable[[str], NoReturn]) -> None:
    if importlib.util.find_spec("imagecorruptions") is None:
        missing("imagecorruptions is not installed (requirements/corruptions.txt)")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "small.png"
    with Image.open(SAMPLE) as image:
        image.convert("RGB").resize((96, 80)).save(path)
    return path


def pixels(path: Path) -> F32:
    with Image.open(path) as image:
        return np.asarray(image, np.float32)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", corruptions.NAMES)
def test_a_corrupted_image_is_the_same_in_every_run(picture: Path, name: str) -> None:
    one, other = picture.parent / "one.png", picture.parent / "other.png"
    corruptions.corrupt(picture, name, 3, one)
    np.random.seed(7)
    corruptions.corrupt(picture, name, 3, other)
    assert one.read_bytes() == other.read_bytes()
    assert pixels(one).shape == pixels(picture).shape
    assert np.abs(pixels(one) - pixels(picture)).mean() > 1


@pytest.mark.filterwarnings("ignore")
def test_a_greater_severity_changes_more(picture: Path) -> None:
    changes = []
    for severity in corruptions.SEVERITIES:
        target = picture.parent / "noisy.png"
        corruptions.corrupt(picture, "gaussian_noise", severity, target)
        changes.append(float(np.abs(pixels(target) - pixels(picture)).mean()))
    assert changes == sorted(changes)


@pytest.mark.filterwarnings("ignore")
def test_a_large_image_is_shrunk_to_the_letterbox(tmp_path: Path) -> None:
    path, target = tmp_path / "large.png", tmp_path / "target.png"
    Image.new("RGB", (1280, 960), (90, 120, 60)).save(path)
    corruptions.corrupt(path, "contrast", 1, target)
    assert pixels(target).shape == (480, 640, 3)


def test_the_table_has_each_corruption(
    picture: Path, built_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "list.jsonl"
    labels.write_text(json.dumps({"image": picture.name, "boxes": [[30, 10, 60, 60]]}))
    arguments = [
        "--model", "sfd-640-mobilenetv2-mod2", "--store", str(built_model.parent.parent),
        "--images", str(tmp_path), "--ground-truth", str(labels), "--corruption", "contrast",
        "--severity", "1", "--severity", "5", "--output", str(tmp_path / "out"),
    ]  # fmt: skip
    assert corruptions.main(arguments) == 0
    assert "| contrast | sfd-640-mobilenetv2-mod2 |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out/corruptions.json").read_text())["corruptions"]
    assert [row["severity"] for row in rows] == [1, 5]
    assert all(0 <= row["average_precision"]["all"] <= 1 for row in rows)
