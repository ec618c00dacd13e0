"""A model of the store finds faces in files without a server."""

from pathlib import Path

import pytest
from PIL import Image

from sfd.errors import SfdError
from training.evaluation.local import LocalPredictor
from training.evaluation.predictor import EvaluationError


def test_a_broken_image_is_named(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(EvaluationError, match=r"broken\.jpg"):
        LocalPredictor.open("small", store, "cpu").predict([path], 0.3, lambda *_: None)


def test_an_unknown_model_is_refused(store: Path) -> None:
    with pytest.raises(SfdError, match="no model"):
        LocalPredictor.open("other", store, "cpu")


def test_more_files_than_the_queue_holds_are_all_processed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFD_QUEUE_LIMIT", "2")
    monkeypatch.setenv("SFD_MAX_IMAGES", "2")
    path = tmp_path / "grey.png"
    Image.new("RGB", (64, 64), (120, 120, 120)).save(path)
    found = LocalPredictor.open("small", store, "cpu").predict([path] * 9, 0.3, lambda *_: None)
    assert len(found) == 9


def test_the_fingerprint_changes_with_reduced_decoding(
    built_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prints = set()
    for value in ("false", "auto", "true"):
        monkeypatch.setenv("SFD_REDUCED_DECODING", value)
        predictor = LocalPredictor.open(built_model.parent.name, built_model.parent.parent, "cpu")
        prints.add(predictor.fingerprint)
        predictor.close()
    assert len(prints) == 3
