"""What all tests share: how one skips, and where the real models and photographs are.

`SFD_REQUIRE_ALL=1` says that this machine has everything (`.ci/run` sets it): then a test that
lacks something fails where it would skip elsewhere.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

from training.architecture.family import Architecture, Block, Extra, Head

# Machines are busy: how long an example takes says nothing.
hypothesis.settings.register_profile("patient", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).resolve().parent.parent
FOR_TESTS = {"SFD_ENGINE", "SFD_PIP_CONF", "SFD_REQUIRE_ALL", "SFD_SHARED"}


def pytest_configure() -> None:
    """Forget the settings of a service that this shell may carry: a test sets what it needs."""
    for name in [name for name in os.environ if name.startswith("SFD_")]:
        if name not in FOR_TESTS:
            del os.environ[name]


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """Skip the test for want of something; with SFD_REQUIRE_ALL=1, fail it."""

    def end(reason: str) -> NoReturn:
        if os.environ.get("SFD_REQUIRE_ALL"):
            pytest.fail(f"{reason}, and SFD_REQUIRE_ALL is set")
        pytest.skip(reason)

    return end


@pytest.fixture(scope="session")
def shared(missing: Callable[[str], NoReturn]) -> Path:
    """The folder of real models and photographs beside the checkout (or at $SFD_SHARED).

    Nobody but the project's own CI has it.
    """
    folder = Path(os.environ.get("SFD_SHARED", ROOT.parent / "shared"))
    if not (folder / "DESIGN.md").is_file():
        missing("the folder of real models and photographs (../shared) is not here")
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
