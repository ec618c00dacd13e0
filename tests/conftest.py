"""Where the tests find the real models and photographs that the repository may not carry."""

import os
from pathlib import Path

import hypothesis
import pytest

# Machines are busy: how long an example takes says nothing.
hypothesis.settings.register_profile("patient", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("patient")

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
