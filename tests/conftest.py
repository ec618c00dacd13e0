"""Where the tests find the real models and photographs that the repository may not carry."""

import os
from pathlib import Path

import hypothesis
import pytest

from training.architecture.family import Architecture, Block, Extra, Head

# Machines are busy: how long an example takes says nothing.
hypothesis.settings.register_profile("patient", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("patient")

# Fixtures that several folders of tests use.
pytest_plugins = ["tests.cells", "tests.servers"]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and photographs beside the checkout (or at $SFD_SHARED).

    A clone elsewhere lacks it and skips; CI must not pass by skipping.
    """
    folder = Path(os.environ.get("SFD_SHARED", ROOT.parent / "shared"))
    if not (folder / "DESIGN.md").is_file():
        reason = "the folder of real models and photographs (../shared) is not here"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def smallest() -> Architecture:
    """A network of the family that is converted in a moment."""
    return Architecture(
        height=64,
        width=64,
        stem=4,
        first_width=4,
        blocks=(Block(8, stride=2), Block(8)),
        last_width=8,
        extras=(Extra(4, 8),),
        heads=(Head("Conv_1", (8, 16)), Head("layer_19_2_2", (32,))),
        batch_norm=False,
        head_bias_stated=True,
    )
