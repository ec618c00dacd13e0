"""Which tests run side by side: never two of one module, and never two that start Ray.

A Ray cluster is a dozen processes. Two clusters on two cores make each other several times as slow,
so all modules that start one run one after another in one process, from the start of the run, while
other processes do the rest.
"""

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from detection.cpu import available_cpus

RAY = (
    "tests/service/on_ray/",
    "tests/detection/bulk/test_cluster.py",
)
"""The modules that start Ray clusters."""


class Scheduling(LoadScopeScheduling):
    """A process takes a module at a time, or all modules of RAY."""

    def _split_scope(self, nodeid: str) -> str:
        return "Ray" if nodeid.startswith(RAY) else super()._split_scope(nodeid)


def pytest_configure() -> None:
    """Run Ray's workers at the usual priority.

    By default it is 15 lower, and then they get hardly any time beside the other tests.
    """
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - so it is spelt


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: tests often wait for other processes."""
    return available_cpus() + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """The scheduler for the tests of all processes, whatever --dist says."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest part first: otherwise the other processes wait for it at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(RAY))
