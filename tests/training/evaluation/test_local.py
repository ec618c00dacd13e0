"""The service's own code finds faces in files without a server."""

from pathlib import Path

import pytest
from PIL import Image

from sfd.errors import SfdError
from training.evaluation.local import EvaluationError, Local


def test_a_broken_image_is_named(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(EvaluationError, match=r"broken\.jpg"):
        Local.open("small", store, "cpu").find([path], 0.3, lambda _: None)


def test_an_unknown_model_is_refused(store: Path) -> None:
    with pytest.raises(SfdError, match="no model"):
        Local.open("other", store, "cpu")


def test_more_files_than_the_queue_holds_are_all_looked_at(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFD_QUEUE_LIMIT", "2")
    monkeypatch.setenv("SFD_MAX_IMAGES", "2")
    path = tmp_path / "grey.png"
    Image.new("RGB", (64, 64), (120, 120, 120)).save(path)
    found = Local.open("small", store, "cpu").find([path] * 9, 0.3, lambda _: None)
    assert len(found) == 9
