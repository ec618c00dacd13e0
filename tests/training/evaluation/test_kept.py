"""Detections are kept as they are made, and a stopped measurement continues."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from store.model import load
from training.evaluation import kept
from training.evaluation.curves import Detections
from training.evaluation.fingerprint import fingerprint
from training.evaluation.predictor import Done, EvaluationError


@dataclass
class Counting:
    """A detector of one box in each file, which counts the files and can stop at one of them."""

    fingerprint: str | None = "of these weights"
    stop_at: str = ""
    name: str = "counting"
    version: str = "1"
    default_score: float = 0.5
    looked: list[str] = field(default_factory=list)

    def predict(self, files: Sequence[Path], min_score: float, done: Done) -> list[Detections]:
        found = []
        for index, file in enumerate(files):
            if file.name == self.stop_at:
                raise KeyboardInterrupt
            self.looked.append(file.name)
            size = float(len(file.read_bytes()))
            found.append(Detections(np.asarray([[0, 0, size, 1 / 3]]), np.asarray([0.7])))
            done(index, found[-1])
        return found

    def close(self) -> None: ...


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in "abc"]
    for count, path in enumerate(paths, 1):
        path.write_bytes(b"x" * count)
    return paths


def predict(folder: Path, detector: Counting, files: list[Path]) -> list[Detections]:
    with kept.opened(folder, detector, 0.1) as file:
        return file.predict(detector, files, 0.1, lambda *_: None)


def test_a_stopped_measurement_continues_where_it_was(tmp_path: Path, files: list[Path]) -> None:
    folder = tmp_path / "keep"
    with pytest.raises(KeyboardInterrupt):
        predict(folder, Counting(stop_at="c"), files)
    again = Counting()
    found = predict(folder, again, files)
    assert again.looked == ["c"]
    assert [each.boxes.tolist() for each in found] == [[[0, 0, n, 1 / 3]] for n in (1.0, 2.0, 3.0)]


def test_half_a_line_is_looked_at_again_and_nothing_else(tmp_path: Path, files: list[Path]) -> None:
    folder = tmp_path / "keep"
    predict(folder, Counting(), files)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    again = Counting()
    assert len(predict(folder, again, files)) == 3
    assert again.looked == ["c"]
    assert len(path.read_text().splitlines()) == 3


def test_a_changed_image_is_looked_at_again(tmp_path: Path, files: list[Path]) -> None:
    folder = tmp_path / "keep"
    predict(folder, Counting(), files)
    files[1].write_bytes(b"other")
    again = Counting()
    predict(folder, again, files)
    assert again.looked == ["b"]


def test_another_detector_has_a_file_of_its_own(tmp_path: Path, files: list[Path]) -> None:
    folder = tmp_path / "keep"
    predict(folder, Counting(), files)
    other = Counting("other weights")
    predict(folder, other, files)
    assert len(other.looked) == 3
    assert len(list(folder.iterdir())) == 2


def test_a_line_of_another_kind_is_refused_with_its_place(
    tmp_path: Path, files: list[Path]
) -> None:
    folder = tmp_path / "keep"
    predict(folder, Counting(), files)
    (path,) = folder.iterdir()
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(EvaluationError, match="line 1: is not a line of kept detections"):
        predict(folder, Counting(), files)


def test_two_evaluations_do_not_write_into_one_file(tmp_path: Path) -> None:
    with (
        kept.opened(tmp_path, Counting(), 0.1),
        pytest.raises(EvaluationError, match="another evaluation uses it"),
        kept.opened(tmp_path, Counting(), 0.1),
    ):
        pass


def test_a_service_is_not_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(EvaluationError, match="can't be kept"),
        kept.opened(tmp_path, Counting(None), 0.1),
    ):
        pass


def test_the_fingerprint_changes_with_the_model_and_the_way_it_runs(
    store: Path, tmp_path: Path
) -> None:
    shutil.copytree(store / "small", tmp_path / "small")
    model = load(tmp_path / "small")
    before = fingerprint(model, "letterbox")
    assert fingerprint(model, "letterbox") == before
    assert fingerprint(model, "pyramid") != before
    description = tmp_path / "small/model.toml"
    description.write_text(description.read_text() + "\n# another threshold\n")
    assert fingerprint(model, "letterbox") != before
