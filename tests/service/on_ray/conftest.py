"""A cluster for the tests of each module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import Cluster, run_cluster


@pytest.fixture(scope="module")
def cluster(has_ray: None, store: Path) -> Iterator[Cluster]:
    """A head node without CPUs, and a node with two."""
    with run_cluster(0, {"SFD_MODEL_STORE": str(store)}) as started:
        started.add_node(2)
        yield started
