"""What the tests of this folder need from the machine."""

import sys

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip every test here where there is no /proc to read."""
    if sys.platform == "linux":
        return
    for item in items:
        if "tests/reliability" in item.path.as_posix():
            item.add_marker(pytest.mark.skip(reason="reads /proc, which only Linux has"))
