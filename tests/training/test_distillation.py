"""A student comes closer to its teacher."""

import errno
import itertools
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from convert.caffe import network as caffe  # noqa: E402
from convert.caffe import weights  # noqa: E402
from sfd.files import WriteError  # noqa: E402
from training import state  # noqa: E402
from training.distillation import Average, distil  # noqa: E402
from training.network import CaffeNetwork  # noqa: E402
from training.photographs import Photograph  # noqa: E402
from training.recipe import Recipe  # noqa: E402
from training.state import TrainingError  # noqa: E402

Make = Callable[[int], CaffeNetwork]


@pytest.mark.parametrize("processor", ["AVX512", "AVX2"])
def test_a_run_asked_to_stop_saves_its_state_and_says_how_to_go_on(
    processor: str,
    network: Make,
    portraits: list[Photograph],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In bfloat16 and in float32."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)

    def stop(done: float, loss: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    recipe = Recipe(hours=1, batch=2, size=128, large_size=128, enlarged_share=0.5)
    parts = network(2), [network(1)], portraits, tmp_path, recipe
    with pytest.raises(TrainingError, match="after step 1; continue with --resume"):
        distil(*parts, resume=False, progress=stop)
    assert (tmp_path / "latest.pt").exists()
    assert (tmp_path / "average-000001.caffemodel").exists()


def test_the_average_moves_towards_the_network_slower_and_slower(network: Make) -> None:
    first, second = network(1).state_dict(), network(2)
    average = Average(network(1), 0.2)
    # 1/10, then 2/11, then never more than 0.2, of what it was.
    remains = 1.0
    for keep in (1 / 10, 2 / 11, 0.2, 0.2):
        average.update(second)
        remains *= keep
        for name, value in second.state_dict().items():
            if value.is_floating_point():
                expected = remains * first[name] + (1 - remains) * value
                found = average.network.state_dict()[name]
                assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6), name


def distilled(
    network: Make,
    portraits: list[Photograph],
    folder: Path,
    steps: int,
    *,
    resume: bool = False,
    frozen: bool = False,
) -> Path:
    """A run by a clock that ticks twice for each step, so that it ends after about that many."""
    recipe = Recipe(
        hours=steps * 2 / 3600,
        batch=4,
        size=128,
        large_size=256,
        warmup=1,
        rate=0.003,
        average=0.5,
        save_minutes=100,
        frozen=frozen,
    )
    ticks = itertools.count()
    return distil(
        network(2),
        [network(1)],
        portraits,
        folder,
        recipe,
        resume=resume,
        progress=lambda done, loss: None,
        clock=lambda: float(next(ticks)),
    )


def test_a_student_comes_closer_to_its_teacher_and_goes_on_after_a_stop(
    tiny: Path, network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    distilled(network, portraits, tmp_path, 20)
    path = distilled(network, portraits, tmp_path, 40, resume=True)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [entry for entry in entries if "step" in entry]
    assert [entry["step"] // 10 for entry in steps] == [1, 2, 3, 4]
    assert steps[-1]["location"] < steps[0]["location"]
    assert steps[-1]["confidence"] < steps[0]["confidence"]
    CaffeNetwork(caffe.load(tiny / "deploy.prototxt", path))


def test_a_resumed_run_has_all_that_the_stopped_one_had(
    network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    """Its hours are over, so that it saves again what it has read."""
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


def test_the_state_is_saved_every_few_minutes(
    network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    """What a power cut leaves behind."""
    steps = itertools.count(1)

    def cut(done: float, loss: float) -> None:
        if next(steps) == 3:
            raise RuntimeError("no power")

    recipe = Recipe(hours=1, batch=2, size=128, large_size=128, save_minutes=0)
    with pytest.raises(RuntimeError, match="no power"):
        distil(network(2), [network(1)], portraits, tmp_path, recipe, resume=False, progress=cut)
    assert torch.load(tmp_path / "latest.pt")["step"] == 2
    assert (tmp_path / "average-000002.caffemodel").exists()


def test_the_rate_warms_up_and_falls_by_half_a_cosine() -> None:
    recipe = Recipe(hours=1, rate=1.0, warmup=10)
    rates = [
        recipe.rate_at(*each) for each in ((0, 0), (4, 0), (99, 0), (99, 0.5), (99, 1), (99, 1.1))
    ]
    assert rates == pytest.approx([0.1, 0.5, 1, 0.51, 0.02, 0.02])


def test_a_frozen_student_learns_with_the_statistics_it_came_with(
    tiny: Path, network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    distilled(network, portraits, tmp_path, 5, frozen=True)
    path = distilled(network, portraits, tmp_path, 10, resume=True, frozen=True)
    before, after = network(2).layer_blobs(), weights.read(path)
    for name, blobs in before.items():
        same = all(np.array_equal(*pair) for pair in zip(blobs, after[name], strict=True))
        assert same == name.endswith("/bn"), name
    CaffeNetwork(caffe.load(tiny / "deploy.prototxt", path))


def test_a_run_goes_on_only_as_it_began(
    network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    distilled(network, portraits[:4], tmp_path, 2)
    with pytest.raises(TrainingError, match="began without --frozen: go on without it"):
        distilled(network, portraits[:4], tmp_path, 4, resume=True, frozen=True)
    with pytest.raises(TrainingError, match=r"1 photographs, such as 4.png, are none that this"):
        distilled(network, portraits[:5], tmp_path, 4, resume=True)
    distilled(network, portraits[:3], tmp_path, 4, resume=True)
    older = torch.load(tmp_path / "latest.pt")
    older["optimizer"] = older.pop("optimizers")[1]  # AdamW's alone, as it was before Muon
    torch.save(older, tmp_path / "latest.pt")
    with pytest.raises(TrainingError, match="began with an older sfd, by another optimizer: start"):
        distilled(network, portraits[:3], tmp_path, 6, resume=True)


def test_a_photograph_that_breaks_off_costs_no_step(
    network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(portraits[0].path.read_bytes()[:2000])
    some = [*portraits[:3], Photograph(broken, broken.name, portraits[0].boxes)]
    with pytest.raises(TrainingError, match=r"broken.png: can't be read.*mend it or leave it out"):
        distilled(network, some, tmp_path / "run", 50)
    distilled(network, some[:3], tmp_path / "run", 50, resume=True)


def test_weights_that_are_no_numbers_are_not_saved_over_good_ones(
    network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    broken = network(3)
    with torch.no_grad():
        next(broken.parameters()).fill_(math.inf)
    for say in ("lower the rate and start again", "lower the rate and --resume"):
        with pytest.raises(TrainingError, match=say):
            state.save(tmp_path, broken, {})
        assert (tmp_path / "latest.pt").exists() == ("resume" in say)
        distilled(network, portraits, tmp_path, 1, resume="resume" in say)


def test_a_damaged_state_says_what_to_do(
    network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    distilled(network, portraits, tmp_path, 1)
    whole = (tmp_path / "latest.pt").read_bytes()
    (tmp_path / "latest.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"latest.pt is damaged: start in another --output"):
        distilled(network, portraits, tmp_path, 2, resume=True)


def test_a_state_that_cannot_be_written_leaves_the_one_before(
    network: Make, portraits: list[Photograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distilled(network, portraits, tmp_path, 1)
    before = (tmp_path / "latest.pt").read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"can't write .*latest.pt: No space left on device"):
        distilled(network, portraits, tmp_path, 2, resume=True)
    assert (tmp_path / "latest.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_an_output_that_is_a_file_is_refused(
    network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="file: can't be made: File exists"):
        distilled(network, portraits, tmp_path / "file", 1)


def test_a_teacher_with_a_softmax_is_refused(
    tiny: Path, network: Make, portraits: list[Photograph], tmp_path: Path
) -> None:
    path = tmp_path / "softmax.prototxt"
    text = (tiny / "deploy.prototxt").read_text()
    assert '"Sigmoid"' in text
    path.write_text(text.replace('"Sigmoid"', '"Softmax"'))
    teacher = CaffeNetwork(caffe.load(path, None))
    recipe = Recipe(hours=1, size=128)
    with pytest.raises(TrainingError, match="background 0, softmax; distillation wants"):
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
    tiny: Path, portraits: list[Photograph], tmp_path: Path
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
