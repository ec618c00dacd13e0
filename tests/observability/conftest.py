"""Where the tests find promtool and Prometheus."""

import os
import shutil

import pytest


def _program(name: str) -> str:
    """A program of Prometheus: from PATH, or from the folder of the tests' Docker engine."""
    engine = os.environ.get("SFD_ENGINE", "")
    found = shutil.which(name) or shutil.which(name, path=f"{engine}/prom/usr/bin")
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
