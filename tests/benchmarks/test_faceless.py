"""The list of pictures without people: which files of the packages it has."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.faceless import PACKAGES, main

SIDE = 160
BACKGROUNDS = "debian/usr/share/backgrounds/"
WALLPAPERS = "debian/usr/share/wallpapers/"
STAMPS = "debian/usr/share/tuxpaint/stamps/"


def add(folder: Path, name: str, width: int = SIDE, height: int = SIDE) -> None:
    """A picture of noise, which no format makes small."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(path, quality=95)


def listed(folder: Path) -> list[str]:
    out = folder / "out.jsonl"
    assert main([str(folder / "debian"), "--images", str(folder), "--output", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert all(row["boxes"] == [] for row in rows)
    return [row["image"] for row in rows]


def test_a_wallpaper_in_many_sizes_counts_once_at_its_largest(tmp_path: Path) -> None:
    add(tmp_path, WALLPAPERS + "Path/contents/images/160x160.jpg")
    add(tmp_path, WALLPAPERS + "Path/contents/images/320x160.jpg", width=2 * SIDE)
    add(tmp_path, WALLPAPERS + "Path/contents/screenshot.jpg")
    add(tmp_path, BACKGROUNDS + "mate/nature/Dune.jpg")
    add(tmp_path, BACKGROUNDS + "mate/nature/Wood.png")
    assert listed(tmp_path) == [
        BACKGROUNDS + "mate/nature/Dune.jpg",
        BACKGROUNDS + "mate/nature/Wood.png",
        WALLPAPERS + "Path/contents/images/320x160.jpg",
    ]


def test_drawings_people_copies_and_small_files_are_left_out(tmp_path: Path) -> None:
    add(tmp_path, STAMPS + "animals/birds/crow.png")
    add(tmp_path, STAMPS + "animals/birds/crow_mirror.png")
    add(tmp_path, STAMPS + "animals/birds/cartoon/duck.png")
    add(tmp_path, STAMPS + "animals/birds/feather.png", width=600, height=99)
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / STAMPS / "animals/birds/flat.png")
    add(tmp_path, STAMPS + "people/singer.png")
    add(tmp_path, BACKGROUNDS + "mate/abstract/Elephants_3840x2160.jpg")
    (tmp_path / STAMPS / "animals/birds/link.png").symlink_to("crow.png")
    assert listed(tmp_path) == [STAMPS + "animals/birds/crow.png"]


@pytest.mark.parametrize(
    ("folder", "images", "code", "message"),
    [
        ("debian", "elsewhere", 2, "is not inside --images"),
        ("debian", ".", 1, "unpack the packages there"),
    ],
)
def test_wrong_folders_are_refused(
    folder: str,
    images: str,
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([folder, "--images", images]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_list_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(tmp_path, STAMPS + "animals/birds/crow.png")
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    assert main([str(tmp_path / "debian"), "--images", str(tmp_path), "--output", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_the_documented_download_has_all_packages() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/training.md").read_text("utf-8")
    (command,) = re.findall(r"apt-get download ((?:.*\\\n)*.*)", page)
    assert tuple(command.replace("\\\n", " ").split()) == PACKAGES
