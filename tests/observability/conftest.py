"""Fixtures for promtool and Prometheus."""

import os
import shutil
from collections.abc import Callable
from typing import NoReturn

import pytest

Missing = Callable[[str], NoReturn]


def _program(name: str, missing: Missing) -> str:
    """A program of Prometheus: from PATH, or from the folder of the tests' Docker engine."""
    engine = os.environ.get("SFD_ENGINE", "")
    found = shutil.which(name) or shutil.which(name, path=f"{engine}/prom/usr/bin")
    if not found:
        missing(f"{name} is not installed (Debian: apt-get install prometheus)")
    return found


@pytest.fixture(scope="session")
def promtool(missing: Missing) -> str:
    """Prometheus's own checker of configurations and rules."""
    return _program("promtool", missing)


@pytest.fixture(scope="session")
def prometheus(missing: Missing) -> str:
    """The server of Prometheus."""
    return _program("prometheus", missing)
