"""`sfd evaluate` from the console to its files."""

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from sfd.cli import main
from training.data.dataset import read_json_lines, split

Evaluate = Callable[..., int]


@pytest.fixture
def evaluate(
    store: Path, labelled_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Evaluate:
    """Run the command on the labelled images, with `more` arguments or another `detector`."""
    monkeypatch.setenv("SFD_PROVIDER", "cpu")
    small = ("--model", "small", "--store", str(store))

    def call(*more: str, detector: Sequence[str] = small) -> int:
        labels = (
            "--images",
            str(labelled_folder),
            "--ground-truth",
            str(labelled_folder / "list.jsonl"),
        )
        return main(["evaluate", *detector, *labels, "--output", str(tmp_path / "out"), *more])

    return call


@pytest.mark.parametrize(
    "more",
    [
        ["--protocol", "letterbox", "--provider", "cpu"],
        ["--protocol", "pyramid"],
        ["--protocol", "native"],
    ],
    ids=lambda more: more[1],
)
def test_it_measures_prints_and_writes(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert evaluate(*more) == 0
    result = json.loads((tmp_path / "out/results.json").read_text())
    assert (result["images"], result["images_missing"]) == (6, 1)
    measured = result["subsets"]["all"]
    assert 0.3 < measured["average_precision"] <= 1
    assert measured["faces"] >= 6
    with Image.open(tmp_path / "out/curves.png") as picture:
        assert picture.size == (900, 640)
    assert f"{measured['average_precision']:.4f}" in capsys.readouterr().out


def test_it_measures_a_running_service(evaluate: Evaluate, url: str, tmp_path: Path) -> None:
    detector = ["--url", url, "--model", "small", "--api-key", "of-an-open-service"]
    assert evaluate(detector=detector) == 0
    result = json.loads((tmp_path / "out/results.json").read_text())
    assert (result["through"], result["model"]["name"]) == (url, "small")
    assert 0.3 < result["subsets"]["all"]["average_precision"] <= 1


def test_wider_text_measures_every_valid_face_as_hard(
    evaluate: Evaluate, labelled_folder: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in (labelled_folder / "list.jsonl").read_text().splitlines()]
    text = ""
    for line in lines[:-2]:
        text += f"{line['image']}\n{len(line['boxes'])}\n"
        for x1, y1, x2, y2 in line["boxes"]:
            text += f"{x1:.0f} {y1:.0f} {x2 - x1:.0f} {y2 - y1:.0f} 0 0 0 0 0 0\n"
    labels = tmp_path / "gt.txt"
    labels.write_text(text)
    if any(not line["image"].endswith(".jpg") for line in lines[:-2]):
        pytest.skip("WIDER FACE's images are .jpg")
    assert evaluate("--ground-truth", str(labels)) == 0
    result = json.loads((tmp_path / "out/results.json").read_text())
    assert list(result["subsets"]) == ["hard"]
    assert result["subsets"]["hard"]["average_precision"] > 0.3


def test_the_held_out_share_is_the_one_that_is_not_trained_on(
    evaluate: Evaluate, labelled_folder: Path, tmp_path: Path
) -> None:
    listed = read_json_lines(labelled_folder / "list.jsonl")
    kept, held_out = split(listed, 0.5)
    assert kept
    assert held_out
    there = [each for each in held_out if each.boxes is not None and each.path.is_file()]
    assert evaluate("--held-out", "0.5") == 0
    result = json.loads((tmp_path / "out/results.json").read_text())
    assert result["images"] == len(there)
    assert result["subsets"]["all"]["faces"] == sum(
        len(e.boxes) for e in there if e.boxes is not None
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--min-score", "1.5"], 2, "--min-score"),
        (["--ground-truth", "/", "--held-out", "0.1"], 1, "`sfd train` does not read .mat files"),
        (["--held-out", "0"], 1, "holds out no image"),
        (["--model", "other"], 1, "no model"),
        (["--images", "/nowhere"], 1, "none of the images"),
        (["--ground-truth", "/nowhere.jsonl"], 1, "can't read"),
        (["--ground-truth", "/nowhere.txt"], 1, "can't read"),
        (["--output", "/proc/nowhere"], 1, "--output /proc/nowhere: can't be written"),
        (["--output", "/proc/self"], 1, "--output /proc/self: can't be written"),
    ],
)
def test_a_failure_is_one_line_that_says_what_to_do(
    evaluate: Evaluate,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    assert evaluate(*arguments) == code
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.count("\n") == 1
    # All of these fail before the measurement, --output too.
    assert not printed.out


@pytest.mark.parametrize(
    ("detector", "more", "says"),
    [
        ([], [], "give --model NAME or --url URL"),
        (["--url", "faces.example"], [], "not the address of a service"),
        (["--url", "http://x", "--store", "s"], [], "--store: not with --url"),
        (
            ["--url", "http://x", "--store", "s", "--provider", "cpu"],
            [],
            "--store, --provider: not with --url",
        ),
        (["--url", "http://x"], ["--protocol", "native"], "native needs --model"),
        (["--model", "small"], ["--api-key", "k"], "--api-key: only with --url"),
        (
            ["--model", "small", "--provider", "cuda"],
            ["--protocol", "native"],
            "--provider: not with --protocol native",
        ),
        (
            ["--model", "small", "--api-key", "k"],
            ["--protocol", "native"],
            "--api-key: only with --url",
        ),
    ],
)
def test_options_without_effect_are_refused(
    evaluate: Evaluate,
    capsys: pytest.CaptureFixture[str],
    detector: list[str],
    more: list[str],
    says: str,
) -> None:
    assert evaluate(*more, detector=detector) == 2
    printed = capsys.readouterr().err
    assert says in printed
    assert printed.count("\n") == 1


def test_a_single_mat_file_is_refused_with_the_folder_to_give(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wider_face_val.mat"
    path.touch()
    assert evaluate("--ground-truth", str(path)) == 1
    assert f"give their folder, {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results.json", "curves.png"])
def test_results_that_cannot_be_written_are_still_printed(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    # A file can't be renamed onto a folder.
    (tmp_path / "out" / name).mkdir(parents=True)
    assert evaluate() == 1
    printed = capsys.readouterr()
    assert re.search(r"^all +0\.\d{4} ", printed.out, re.MULTILINE)
    assert f"can't write {tmp_path / 'out' / name}: " in printed.err
    assert "results.json" not in printed.out


def test_results_that_cannot_be_printed_are_still_written(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_reads, end = os.pipe()
    os.close(nobody_reads)
    closed = open(end, "w", buffering=1)  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", closed)
    assert evaluate() == 1
    with pytest.raises(BrokenPipeError):
        closed.close()
    result = json.loads((tmp_path / "out/results.json").read_text())
    assert result["subsets"]["all"]["average_precision"] > 0.3
    assert (tmp_path / "out/curves.png").is_file()
