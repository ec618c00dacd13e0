"""The accuracy and the speed of an int8 file."""

from pathlib import Path

import pytest

from quantization import measuring
from quantization.images import divide
from quantization.making import make
from store.model import Model, ModelError


def test_images_without_a_face_are_refused(
    built: Model, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "measure", lambda *_: None)
    with pytest.raises(ModelError, match="no face in the 5 images that were held back"):
        make(built, divide(images))
    assert not built.int8.exists()
