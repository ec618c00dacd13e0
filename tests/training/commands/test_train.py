"""`sfd train` from the console to a caffemodel."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch (extra train)")

from convert.caffe import prototxt, weights
from convert.caffe.caffe_pb2 import SolverParameter
from sfd.cli import main
from training import hyperparameters, state
from training.data import dataset
from training.data.dataset import LabelledImage
from training.recipe import Recipe


@pytest.fixture
def annotations(portraits: Sequence[LabelledImage], tmp_path: Path) -> Path:
    """A list with the pictures beside it: their names, and so the held-out share, are fixed."""
    lines = []
    for each in portraits:
        assert each.boxes is not None
        shutil.copy(each.path, tmp_path / each.name)
        lines.append(json.dumps({"image": each.name, "boxes": each.boxes.tolist()}))
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def solver(tiny: Path, tmp_path: Path) -> Path:
    """A solver with paths of another machine, as in the published ones."""
    for name in ("train.prototxt", "test.prototxt"):
        (tmp_path / name).write_text((tiny / name).read_text())
    parameter = SolverParameter(
        train_net="models/elsewhere/train.prototxt",
        test_net=["models/elsewhere/test.prototxt"],
        type="RMSProp",
        base_lr=0.0001,
        lr_policy="fixed",
        max_iter=2,
        test_interval=2,
        snapshot_prefix="models/elsewhere/tiny",
    )
    path = tmp_path / "solver.prototxt"
    path.write_text(prototxt.write(parameter))
    return path


@pytest.fixture
def trained(
    solver: Path, annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Path:
    """A caffemodel trained by the solver."""
    out = str(tmp_path / "first")
    assert main(["train", str(solver), "--annotations", str(annotations), "--output", out]) == 0
    capsys.readouterr()
    return tmp_path / "first/tiny_iter_2.caffemodel"


def test_a_solver_file_trains(
    solver: Path, annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["train", str(solver), "--annotations", str(annotations), "--output", str(out)]
    assert main(arguments) == 0
    written = out / "tiny_iter_2.caffemodel"
    assert capsys.readouterr().out == f"{written}\n"
    assert "Conv" in weights.read(written)
    assert main([*arguments, "--weights", str(written)]) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--weights", str(written), "--resume"]) == 2
    assert "remove --weights, or start in another --output" in capsys.readouterr().err
    with state.only_run(out):
        assert main([*arguments, "--resume"]) == 1
        assert "another training writes there" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0


def test_a_teacher_trains(
    tiny: Path, trained: Path, annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--annotations", str(annotations), "--held-out", "0"]
    deploy = str(tiny / "deploy.prototxt")
    arguments += ["--teacher", deploy, str(trained), "--hours", "0.0001", "--batch", "2"]
    arguments += ["--set", "blur_radius=0.5,1", "--set", "size=128"]
    assert main(["train", deploy, *arguments, "--output", str(tmp_path / "second")]) == 0
    printed = capsys.readouterr().out.splitlines()[-1]
    logged = json.loads((tmp_path / "second/log.jsonl").read_text().splitlines()[0])
    changed = {"hours": 0.0001, "batch": 2, "blur_radius": [0.5, 1.0], "size": 128}
    defaults = json.loads(json.dumps(dataclasses.asdict(Recipe())))
    assert logged == {**defaults, **changed}
    assert weights.read(Path(printed)).keys() == weights.read(trained).keys()


def test_the_seed_also_determines_the_first_weights(
    solver: Path, trained: Path, annotations: Path, tmp_path: Path
) -> None:
    def again(seed: str) -> bytes:
        out = tmp_path / f"seed-{seed}"
        arguments = ["--annotations", str(annotations), "--output", str(out), "--seed", seed]
        assert main(["train", str(solver), *arguments]) == 0
        return (out / trained.name).read_bytes()

    assert again("1") == trained.read_bytes()
    assert again("2") != trained.read_bytes()


def test_the_held_out_share_is_also_held_out_with_a_validation_list(
    solver: Path,
    annotations: Path,
    portraits: Sequence[LabelledImage],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept, held_out = dataset.split(dataset.read(annotations), 0.5)
    assert kept
    assert held_out
    arguments = ["train", str(solver), "--annotations", str(annotations)]
    arguments += ["--validation", str(annotations), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--held-out", "0.5"]) == 0
    assert main([*arguments, "--held-out", "0", "--resume"]) == 1
    assert f"not trained on {len(held_out)} of these images, such as" in capsys.readouterr().err


def test_missing_images_are_reported_before_any_work(
    solver: Path,
    tiny: Path,
    trained: Path,
    annotations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with annotations.open("a") as file:
        file.write('\n{"image": "gone.png", "boxes": [[1, 2, 30, 40]]}\n')
    common = ["--annotations", str(annotations), "--held-out", "0"]
    common += ["--output", str(tmp_path / "out")]
    deploy = str(tiny / "deploy.prototxt")
    for command in ([str(solver)], [deploy, "--teacher", deploy, str(trained)]):
        assert main(["train", *command, *common]) == 1
        told = capsys.readouterr().err
        assert "1 of 9 images are missing, such as" in told
        assert "gone.png: check --images" in told
    assert not (tmp_path / "out").exists()


def test_layers_without_weights_start_with_their_fillers_and_are_named(
    solver: Path,
    trained: Path,
    annotations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["train", str(solver), "--annotations", str(annotations)]
    whole = weights.read(trained)
    body = {name: blobs for name, blobs in whole.items() if "mbox" not in name}
    weights.write(tmp_path / "body.caffemodel", "body", body)
    arguments += ["--weights", str(tmp_path / "body.caffemodel")]
    assert main([*arguments, "--output", str(tmp_path / "again")]) == 0
    told = capsys.readouterr().err
    assert "which start with the prototxt's fillers: " in told
    assert all(name in told for name in whole.keys() - body.keys())
    assert weights.read(tmp_path / "again/tiny_iter_2.caffemodel").keys() == whole.keys()


def test_weights_of_another_network_are_refused(
    solver: Path, annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.write(tmp_path / "o.caffemodel", "o", {"other": [np.zeros(1, np.float32)]})
    arguments = ["train", str(solver), "--annotations", str(annotations)]
    arguments += ["--output", str(tmp_path / "out"), "--weights", str(tmp_path / "o.caffemodel")]
    assert main(arguments) == 1
    assert (
        "no weights for any layer of the network: give a caffemodel of this"
        in capsys.readouterr().err
    )


def test_frozen_statistics_must_be_there(
    tiny: Path, trained: Path, annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--annotations", str(annotations), "--held-out", "0"]
    blobs = weights.read(trained)
    weights.write(
        tmp_path / "lacking.caffemodel", "x", {k: v for k, v in blobs.items() if k != "Conv/bn"}
    )
    deploy = str(tiny / "deploy.prototxt")
    arguments += ["--teacher", deploy, str(trained), "--output", str(tmp_path / "second")]
    assert main(["train", deploy, *arguments, "--frozen"]) == 2
    assert "give --weights too" in capsys.readouterr().err
    arguments += ["--weights", str(tmp_path / "lacking.caffemodel")]
    assert main(["train", deploy, *arguments, "--frozen"]) == 2
    assert "these lack layers (see above): train without --frozen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--hours", "nan"], 2, "hours must be above 0, not nan"),
        (["--rate", "inf"], 2, "rate must be above 0, not inf"),
        (["--batch", "0"], 2, "batch must be at least 1, not 0"),
        (["--set", "blur"], 2, "write NAME=VALUE"),
        (["--set", "blurr_chance=1"], 2, "blurr_chance=1: unknown name; `sfd train --help`"),
        (["--set", "blur_chance=2"], 2, "blur_chance must be at least 0 and at most 1, not 2"),
        (["--set", "rate=1", "--rate", "1"], 2, "--set rate: is also given as --rate"),
        (["--set", "seed=3"], 2, "use --seed"),
        (["--echoes", "-1"], 2, "echoes must be at least 0, not -1"),
        (["--held-out", "0.9999999"], 1, "has no image to train on"),
    ],
)
def test_an_impossible_distillation_is_refused(
    tiny: Path,
    trained: Path,
    annotations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    says: str,
) -> None:
    deploy = str(tiny / "deploy.prototxt")
    arguments = ["--annotations", str(annotations), "--output", str(tmp_path / "out")]
    assert main(["train", deploy, "--teacher", deploy, str(trained), *arguments, *options]) == code
    assert says in capsys.readouterr().err


def test_a_solver_whose_network_may_be_two_files_is_refused(
    solver: Path,
    annotations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after copying a folder of the store, whose solver still names the network there."""
    elsewhere = tmp_path / "current/models/elsewhere"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "current")
    (elsewhere / "train.prototxt").write_text((tmp_path / "train.prototxt").read_text())
    arguments = ["--annotations", str(annotations), "--output", str(tmp_path / "out")]
    assert main(["train", str(solver), *arguments]) == 1
    told = capsys.readouterr().err
    assert "models/elsewhere/train.prototxt: remove or rename all but one" in told
    assert str(tmp_path / "train.prototxt") in told


def test_options_without_effect_are_refused(
    tiny: Path, solver: Path, annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--annotations", str(annotations), "--output", str(tmp_path / "out")]
    assert (
        main(["train", str(solver), *arguments, "--hours", "1", "--frozen", "--set", "gamma=1,2"])
        == 2
    )
    assert "--hours, --frozen, --set: only with --teacher" in capsys.readouterr().err
    teacher = ["--teacher", str(tiny / "deploy.prototxt"), "none.caffemodel", "--bfloat16"]
    assert main(["train", str(tiny / "deploy.prototxt"), *arguments, *teacher]) == 2
    assert "--bfloat16: only with a solver file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seed", "says"),
    [("-1", "--seed can't be negative"), (str(2**64), "--seed must be below 2^64")],
)
def test_a_seed_that_pytorch_does_not_take_is_wrong_usage(
    solver: Path,
    annotations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    seed: str,
    says: str,
) -> None:
    arguments = ["--annotations", str(annotations), "--output", str(tmp_path / "out")]
    assert main(["train", str(solver), *arguments, "--seed", seed]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_second_loss_is_refused(
    tiny: Path, solver: Path, annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (tiny / "train.prototxt").read_text()
    more = 'layer { name: "other" type: "SoftmaxWithLoss" bottom: "mbox_conf" bottom: "label" }'
    (solver.parent / "two.prototxt").write_text(f"{text}\n{more}\n")
    parameter = prototxt.read(solver, SolverParameter).message
    parameter.train_net = "two.prototxt"
    solver.write_text(prototxt.write(parameter))
    arguments = ["--annotations", str(annotations), "--output", str(tmp_path / "out")]
    assert main(["train", str(solver), *arguments]) == 1
    assert (
        "layer other: is a second loss; the trainer supports one, here mbox_loss"
        in capsys.readouterr().err
    )


def test_an_unknown_field_of_a_solver_file_causes_a_warning(
    solver: Path, annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    solver.write_text(solver.read_text() + "weight_decayy: 0.1\n")
    arguments = ["--annotations", str(annotations), "--output", str(tmp_path / "out")]
    assert main(["train", str(solver), *arguments]) == 0
    assert "unknown field weight_decayy is ignored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"train_net": "nowhere.prototxt"}, 1, "neither here nor beside"),
        ({"type": "Lion"}, 1, "Lion"),
    ],
)
def test_a_solver_that_cannot_be_followed_is_refused(
    solver: Path,
    annotations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    code: int,
    says: str,
) -> None:
    parameter = prototxt.read(solver, SolverParameter).message
    for name, value in change.items():
        setattr(parameter, name, value)
    solver.write_text(prototxt.write(parameter))
    arguments = ["--annotations", str(annotations), "--output", str(tmp_path / "out")]
    assert main(["train", str(solver), *arguments]) == code
    assert says in capsys.readouterr().err


def test_help_lists_every_value_of_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    printed = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    for name, default, about in hyperparameters.describe(Recipe):
        assert f"{name} {default} {about}" in printed
