"""`sfd evaluate` from the console to its files."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from convert.options import Options
from convert.outputs.kinds import Kind
from sfd.cli import main
from store.add import add
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
        (["--model", "small"], 2, "--model small: is given twice"),
        (["--score", "2"], 2, "--score must be from --min-score to 1"),
        (["--faces", "3"], 2, "--faces: only with --protocol closeup"),
        (["--protocol", "closeup", "--ground-truth", "/"], 2, "needs a .jsonl file"),
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


def test_several_models_share_one_table_and_are_compared(
    evaluate: Evaluate,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = tmp_path / "model_store"
    both.mkdir()
    source = shared / "models/upstream/sfd-320-mod11g"
    files = source / "deploy.prototxt", source / "weights.caffemodel"
    for name in ("small", "again"):
        add(both, name, *files, options=Options(output=Kind.HEADS, verify=False))
    detector = ["--model", "small", "--model", "again", "--store", str(both)]
    assert evaluate(detector=detector) == 0
    result = json.loads((tmp_path / "out/results.json").read_text())
    one, other = result["models"]
    assert (one["model"]["name"], other["model"]["name"]) == ("small", "again")
    assert one["subsets"] == other["subsets"]
    # Two copies of one model tie in each sample.
    assert result["comparisons"] == [{"models": ["small", "again"], "better": {"all": 0.5}}]
    for name in ("small", "again"):
        assert (tmp_path / f"out/curves-{name}.png").is_file()
    printed = capsys.readouterr().out
    assert re.search(r"^small +0\.\d{4}$", printed, re.MULTILINE)
    assert re.search(r"^again +0\.\d{4}$", printed, re.MULTILINE)


def test_kept_detections_give_the_same_result(evaluate: Evaluate, tmp_path: Path) -> None:
    results = []
    for _ in range(2):
        assert evaluate("--keep", str(tmp_path / "keep")) == 0
        result = json.loads((tmp_path / "out/results.json").read_text())
        results.append({key: result[key] for key in ("subsets", "recall", "images")})
    assert results[0] == results[1]
    (file,) = (tmp_path / "keep").iterdir()
    assert len(file.read_text().splitlines()) == 6


def test_results_that_are_replaced_are_named(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = ("--keep", str(tmp_path / "keep"))  # so that the second run is short
    assert evaluate(*keep) == 0
    assert "(replaced)" not in capsys.readouterr().out
    assert evaluate(*keep) == 0
    assert "results.json (replaced), curves.png (replaced)" in capsys.readouterr().out


def test_recall_is_measured_at_the_given_score(evaluate: Evaluate, tmp_path: Path) -> None:
    found = []
    for score in ("0.1", "0.9"):
        # What was detected in the first run is used again.
        assert evaluate("--score", score, "--keep", str(tmp_path / "keep")) == 0
        recall = json.loads((tmp_path / "out/results.json").read_text())["recall"]
        assert recall["score"] == float(score)
        assert sum(each["found"] for each in recall["height"].values()) == recall["all"]["found"]
        found.append(recall["all"]["found"])
    assert found[0] > found[1]


def test_faces_that_fill_the_frame_are_measured(
    evaluate: Evaluate, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("--images", str(shared / "faces"), "--ground-truth", str(shared / "faces/test.jsonl"))
    assert evaluate("--protocol", "closeup", "--faces", "3", *labels) == 0
    result = json.loads((tmp_path / "out/results.json").read_text())
    assert (result["protocol"], result["faces"]) == ("closeup", 3)
    assert [row["share"] for row in result["shares"]] == [0.2, 0.4, 0.6, 0.8, 0.95]
    assert all(0 <= row["found"] <= 1 and row["boxes"] >= 0 for row in result["shares"])
    assert max(row["found"] for row in result["shares"]) > 0
    assert "closeup, 3 faces" in capsys.readouterr().out


def test_the_attributes_of_wider_face_are_measured(
    evaluate: Evaluate, shared: Path, tmp_path: Path
) -> None:
    folder = shared / "faces/wider"
    images = tmp_path / "images"
    for source in sorted((folder / "images").rglob("*.jpg"))[:3]:
        target = images / source.relative_to(folder / "images")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    labels = ("--images", str(images), "--ground-truth", str(folder / "ground_truth"))
    assert evaluate(*labels) == 0
    recall = json.loads((tmp_path / "out/results.json").read_text())["recall"]
    assert {"blur", "expression", "illumination", "invalid", "occlusion", "pose"} < set(recall)
    tall = sum(
        each["faces"]
        for name, each in recall["height"].items()
        if name not in ("<8", "8-12", "12-16")
    )
    assert tall > 0
    for name in ("blur", "expression", "illumination", "occlusion", "pose"):
        assert sum(each["faces"] for each in recall[name].values()) == tall
