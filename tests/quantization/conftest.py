"""A small model to quantize, and photographs for it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.precision import Precision, lacking, processor_features
from quantization.images import MINIMUM, divide
from quantization.making import make
from store.model import Model
from tests.store.conftest import built, description, detector, store, unbuilt

__all__ = ["built", "description", "detector", "store", "unbuilt"]

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "service/static/sample.jpg"


@pytest.fixture(autouse=True, scope="session")
def able() -> None:
    reason = lacking(Precision.INT8, processor_features())
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fewest images that are accepted: parts of one photograph, turned and dimmed."""
    folder = tmp_path_factory.mktemp("images")
    photograph = Image.open(SAMPLE).convert("RGB")
    random = np.random.default_rng(0)
    for number in range(MINIMUM):
        left, top = (int(value) for value in random.integers(0, 120, 2))
        part = photograph.crop((left, top, 512 - int(random.integers(0, 120)), 512))
        if number % 2:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        part.point([round(i * (1 - number / 40)) for i in range(256)] * 3).save(
            folder / f"{number}.jpg"
        )
    return folder


@pytest.fixture
def quantized(built: Model, images: Path) -> Model:
    make(built, divide(images))
    return built
