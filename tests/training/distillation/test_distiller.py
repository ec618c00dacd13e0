"""A student approaches its teacher; a run stops, resumes, and reports what went wrong."""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from convert.caffe import network as caffe  # noqa: E402
from convert.caffe import weights  # noqa: E402
from training.data.dataset import LabelledImage  # noqa: E402
from training.distillation.distiller import distil  # noqa: E402
from training.log import Log  # noqa: E402
from training.network.network import CaffeNetwork  # noqa: E402
from training.recipe import Recipe  # noqa: E402
from training.state import TrainingError  # noqa: E402

Make = Callable[[int], CaffeNetwork]


@pytest.mark.parametrize("processor", ["AVX512", "AVX2"])
def test_a_stopped_run_saves_its_state_and_says_how_to_continue(
    processor: str,
    network: Make,
    portraits: list[LabelledImage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In bfloat16 and in float32."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)

    def stop(done: float, loss: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    recipe = Recipe(hours=1, batch=2, size=128, large_size=128, enlarged=0.5)
    parts = network(2), [network(1)], portraits, tmp_path, recipe
    with pytest.raises(TrainingError, match="after step 1; continue with --resume"):
        distil(*parts, resume=False, progress=stop)
    assert (tmp_path / "latest.pt").exists()
    assert (tmp_path / "average-000001.caffemodel").exists()


def distilled(
    network: Make,
    portraits: list[LabelledImage],
    folder: Path,
    steps: int,
    *,
    resume: bool = False,
    warn: Callable[[str], object] = lambda _: None,
    **values: Any,
) -> Path:
    """A run with a clock that ticks twice in each step, so that it ends after about `steps`."""
    defaults = {
        "hours": steps * 2 / 3600,
        "batch": 4,
        "size": 128,
        "large_size": 256,
        "warmup": 1,
        "rate": 0.003,
        "average": 0.5,
        "save_minutes": 100,
        "enlarged": 0,
        "echoes": 0,
    }
    recipe = Recipe(**(defaults | values))
    ticks = itertools.count()
    return distil(
        network(2),
        [network(1)],
        portraits,
        folder,
        recipe,
        resume=resume,
        progress=lambda done, loss: None,
        warn=warn,
        clock=lambda: float(next(ticks)),
    )


def test_a_student_approaches_its_teacher_also_after_a_stop(
    tiny: Path, network: Make, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    distilled(network, portraits, tmp_path, 20)
    path = distilled(network, portraits, tmp_path, 40, resume=True)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [entry for entry in entries if "step" in entry]
    assert [entry["step"] // 10 for entry in steps] == [1, 2, 3, 4]
    assert steps[-1]["location"] < steps[0]["location"]
    assert steps[-1]["confidence"] < steps[0]["confidence"]
    CaffeNetwork(caffe.load(tiny / "deploy.prototxt", path))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_log_that_cannot_be_written_costs_no_step(
    network: Make, portraits: list[LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"
    log.symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"log.jsonl: No space left on device; .* start again"):
        distilled(network, portraits, tmp_path, 2)
    log.unlink()
    whole = Log.write

    def write(own: Log, entry: dict[str, Any], *save: Callable[[], object]) -> None:
        whole(own, entry, *save)
        # Only the recipe, the first line, can be written.
        with open("/dev/full", "ab") as full:
            os.dup2(full.fileno(), own._file.fileno())

    monkeypatch.setattr(Log, "write", write)
    with pytest.raises(TrainingError, match=r"log.jsonl: No space .* --resume from the last state"):
        distilled(network, portraits, tmp_path, 20)
    assert torch.load(tmp_path / "latest.pt")["step"] == 10


def test_a_resumed_run_restores_the_whole_state(
    network: Make, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    """Its hours are over, so it saves what it has restored."""
    first = distilled(network, portraits, tmp_path, 3)
    stopped, written = torch.load(tmp_path / "latest.pt"), first.read_bytes()
    first.unlink()
    assert distilled(network, portraits, tmp_path, 3, resume=True) == first
    assert first.read_bytes() == written
    resumed = torch.load(tmp_path / "latest.pt")
    assert (resumed["step"], resumed["spent"]) == (stopped["step"], stopped["spent"])
    for part in ("network", "average"):
        assert all(torch.equal(value, resumed[part][n]) for n, value in stopped[part].items())
    assert len(stopped["optimizers"]) == 2
    for number, optimizer in enumerate(stopped["optimizers"]):
        assert optimizer["state"]
        for index, values in optimizer["state"].items():
            for name, value in values.items():
                again = resumed["optimizers"][number]["state"][index][name]
                assert torch.equal(value, again)


def test_a_state_of_an_earlier_version_can_be_resumed(
    network: Make, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    """It has these keys, and no recipe."""
    distilled(network, portraits, tmp_path, 2)
    keys = ("network", "average", "optimizers", "step", "spent", "frozen", "photographs")
    saved = torch.load(tmp_path / "latest.pt")
    torch.save({key: saved[key] for key in keys}, tmp_path / "latest.pt")
    said: list[str] = []
    distilled(network, portraits, tmp_path, 4, resume=True, warn=said.append)
    assert torch.load(tmp_path / "latest.pt")["step"] > saved["step"]
    assert said == ["the state does not say which values it was trained with: give those you used"]


def test_a_resumed_run_uses_the_new_recipe_and_reports_what_has_changed(
    network: Make, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    distilled(network, portraits, tmp_path, 2)
    said: list[str] = []
    distilled(network, portraits, tmp_path, 4, resume=True, warn=said.append, weight_decay=0.5)
    hours = f"hours {4 * 2 / 3600} (was {2 * 2 / 3600})"
    assert said == [
        f"resumed with other values than before: {hours}, weight_decay 0.5 (was 0.0001)"
    ]
    muon, adam = torch.load(tmp_path / "latest.pt")["optimizers"]
    assert [group["weight_decay"] for group in muon["param_groups"]] == [0.5]
    assert [group["weight_decay"] for group in adam["param_groups"]] == [0.5, 0.0]


def test_the_state_is_saved_every_few_minutes(
    network: Make, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    """They survive a power cut."""
    steps = itertools.count(1)

    def cut(done: float, loss: float) -> None:
        if next(steps) == 3:
            raise RuntimeError("no power")

    recipe = Recipe(hours=1, batch=2, size=128, large_size=128, save_minutes=0)
    with pytest.raises(RuntimeError, match="no power"):
        distil(network(2), [network(1)], portraits, tmp_path, recipe, resume=False, progress=cut)
    assert torch.load(tmp_path / "latest.pt")["step"] == 2
    assert (tmp_path / "average-000002.caffemodel").exists()


def test_a_frozen_student_keeps_its_statistics(
    tiny: Path, network: Make, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    distilled(network, portraits, tmp_path, 5, frozen=True)
    path = distilled(network, portraits, tmp_path, 10, resume=True, frozen=True)
    before, after = network(2).layer_blobs(), weights.read(path)
    for name, blobs in before.items():
        same = all(np.array_equal(*pair) for pair in zip(blobs, after[name], strict=True))
        assert same == name.endswith("/bn"), name
    CaffeNetwork(caffe.load(tiny / "deploy.prototxt", path))


def test_a_run_resumes_only_as_it_was_started(
    network: Make, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    distilled(network, portraits[:4], tmp_path, 2)
    with pytest.raises(
        TrainingError, match="was started without --frozen: resume it without --frozen"
    ):
        distilled(network, portraits[:4], tmp_path, 4, resume=True, frozen=True)
    with pytest.raises(TrainingError, match=r"not trained on 1 of these images, such as 4\.png"):
        distilled(network, portraits[:5], tmp_path, 4, resume=True)
    distilled(network, portraits[:3], tmp_path, 4, resume=True)
    older = torch.load(tmp_path / "latest.pt")
    older["optimizer"] = older.pop("optimizers")[1]  # AdamW's alone, as it was before Muon
    torch.save(older, tmp_path / "latest.pt")
    with pytest.raises(
        TrainingError, match="started by an older sfd with another optimizer: start"
    ):
        distilled(network, portraits[:3], tmp_path, 6, resume=True)


def test_a_truncated_image_costs_no_step(
    network: Make, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(portraits[0].path.read_bytes()[:2000])
    some = [*portraits[:3], LabelledImage(broken, broken.name, portraits[0].boxes)]
    with pytest.raises(TrainingError, match=r"broken.png: can't be read.*repair it or remove it"):
        distilled(network, some, tmp_path / "run", 10)
    distilled(network, some[:3], tmp_path / "run", 10, resume=True)


def test_a_teacher_with_a_softmax_is_refused(
    tiny: Path, network: Make, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    path = tmp_path / "softmax.prototxt"
    text = (tiny / "deploy.prototxt").read_text()
    assert '"Sigmoid"' in text
    path.write_text(text.replace('"Sigmoid"', '"Softmax"'))
    teacher = CaffeNetwork(caffe.load(path, None))
    recipe = Recipe(hours=1, size=128)
    with pytest.raises(TrainingError, match="background 0, softmax; distillation needs"):
        distil(
            network(1),
            [teacher],
            portraits,
            tmp_path / "run",
            recipe,
            resume=False,
            progress=lambda done, loss: None,
        )


def test_a_teacher_of_another_family_is_refused(
    tiny: Path, portraits: list[LabelledImage], tmp_path: Path
) -> None:
    student = CaffeNetwork(caffe.load(tiny / "deploy.prototxt", None))
    deploy = (tiny / "deploy.prototxt").read_text().replace("min_size: 16", "min_size: 12")
    (tmp_path / "other.prototxt").write_text(deploy)
    other = CaffeNetwork(caffe.load(tmp_path / "other.prototxt", None)).eval()
    with pytest.raises(TrainingError, match="priors"):
        distil(
            student,
            [other],
            portraits,
            tmp_path,
            Recipe(hours=1, size=128),
            resume=False,
            progress=lambda done, loss: None,
        )
