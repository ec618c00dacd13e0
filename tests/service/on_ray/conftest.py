"""One cluster for the tests of this folder: to start one takes a quarter of a minute."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import Cluster, run_cluster


@pytest.fixture(scope="package")
def started(
    has_ray: None, store: Path, built_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A head node without CPUs; its store has the small models and the default one."""
    models = tmp_path_factory.mktemp("models")
    for folder in (*store.iterdir(), built_model.parent):
        (models / folder.name).symlink_to(folder)
    with run_cluster({"SFD_MODEL_STORE": str(models)}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster(started: Cluster) -> Cluster:
    """The head node and two nodes with one CPU each; no application."""
    started.clear(nodes=2)
    return started
