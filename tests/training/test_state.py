"""The state of a run is written whole or not at all, and read back or refused."""

import errno
import math
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from sfd.files import WriteError  # noqa: E402
from training import state  # noqa: E402
from training.data.dataset import LabelledImage  # noqa: E402
from training.state import TrainingError  # noqa: E402


def test_a_saved_state_is_read_back(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 3)
    assert state.begin(tmp_path / "run", resume=False) is None
    state.save(tmp_path / "run", network, {"step": 7})
    read = state.begin(tmp_path / "run", resume=True)
    assert read is not None
    assert read["step"] == 7
    assert torch.equal(read["network"]["weight"], network.weight)


def test_a_start_does_not_overwrite_a_state(tmp_path: Path) -> None:
    state.save(tmp_path, torch.nn.Linear(2, 3), {})
    with pytest.raises(TrainingError, match=r"latest.pt already exists: continue with --resume"):
        state.begin(tmp_path, resume=False)


@pytest.mark.parametrize("name", ["net_iter_2.caffemodel", "average-000012.caffemodel"])
def test_a_start_does_not_overwrite_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / "start.caffemodel").touch()
    assert state.begin(tmp_path, resume=False) is None
    (tmp_path / name).touch()
    with pytest.raises(TrainingError, match=f"{name} already exists.* give another --output"):
        state.begin(tmp_path, resume=False)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with state.only_run(tmp_path / "run"):
        with (
            pytest.raises(TrainingError, match="another training writes there"),
            state.only_run(tmp_path / "run"),
        ):
            pass
        with state.only_run(tmp_path / "other"):
            pass
    with state.only_run(tmp_path / "run"):
        pass


def test_without_a_state_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"latest.pt to resume from: start without --resume"):
        state.begin(tmp_path, resume=True)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_infinite_weights_do_not_overwrite_a_good_state(tmp_path: Path, value: float) -> None:
    broken = torch.nn.Linear(2, 3)
    with torch.no_grad():
        broken.weight[0, 0] = value
    with pytest.raises(TrainingError, match="lower the learning rate and start again"):
        state.save(tmp_path, broken, {})
    assert not (tmp_path / "latest.pt").exists()
    state.save(tmp_path, torch.nn.Linear(2, 3), {})
    before = (tmp_path / "latest.pt").read_bytes()
    with pytest.raises(TrainingError, match="lower the learning rate and --resume"):
        state.save(tmp_path, broken, {})
    assert (tmp_path / "latest.pt").read_bytes() == before


def test_a_damaged_state_says_what_to_do(tmp_path: Path) -> None:
    state.save(tmp_path, torch.nn.Linear(2, 3), {})
    whole = (tmp_path / "latest.pt").read_bytes()
    (tmp_path / "latest.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"latest.pt is damaged: start in another --output"):
        state.begin(tmp_path, resume=True)
    torch.save([1, 2], tmp_path / "latest.pt")
    with pytest.raises(TrainingError, match=r"latest.pt is damaged: start in another --output"):
        state.begin(tmp_path, resume=True)


def test_the_previous_state_stays_if_a_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.save(tmp_path, torch.nn.Linear(2, 3), {})
    before = (tmp_path / "latest.pt").read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"can't write .*latest.pt: No space left on device"):
        state.save(tmp_path, torch.nn.Linear(2, 3), {})
    assert (tmp_path / "latest.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="file: can't be made: File exists"):
        state.begin(tmp_path / "file", resume=False)


def test_images_that_the_run_has_not_trained_on_are_refused(tmp_path: Path) -> None:
    first, second = (LabelledImage(tmp_path / name, name, None) for name in ("a.jpg", "b.jpg"))
    before = state.names([first])
    state.check_images(before, [first])
    state.check_images(before, [])
    with pytest.raises(TrainingError, match=r"not trained on 1 of these images, such as b\.jpg"):
        state.check_images(before, [first, second])
