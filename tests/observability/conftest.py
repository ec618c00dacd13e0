"""Where the tests find promtool and Prometheus."""

import os
import shutil
from pathlib import Path

import pytest


def _program(name: str) -> str:
    """A program of Prometheus: from PATH, or from the stand-in engine's folder."""
    engine = Path(os.environ.get("SFD_ENGINE", "/tmp/sfd-engine"))
    found = shutil.which(name) or shutil.which(name, path=str(engine / "prom/usr/bin"))
    if found:
        return found
    reason = f"{name} is not installed (Debian: apt-get install prometheus)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's own checker of configurations and rules."""
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The server of Prometheus."""
    return _program("prometheus")
