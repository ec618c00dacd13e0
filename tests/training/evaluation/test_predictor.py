"""Files that predictors read."""

from pathlib import Path

import pytest

from training.evaluation.predictor import EvaluationError, read_file


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8")
    assert read_file(tmp_path / "a.jpg") == b"\xff\xd8"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"a\.jpg: can't be read: No such file"):
        read_file(tmp_path / "a.jpg")
