"""The service's own code finds faces in files without a server."""

from pathlib import Path

import pytest

from sfd.errors import SfdError
from training.evaluation.finders import EvaluationError, Local


def test_a_broken_image_is_named(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(EvaluationError, match=r"broken\.jpg"):
        Local.open("small", store, "cpu").find([path], 0.3, lambda _: None)


def test_an_unknown_model_is_refused(store: Path) -> None:
    with pytest.raises(SfdError, match="no model"):
        Local.open("other", store, "cpu")
