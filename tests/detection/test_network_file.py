"""Which ONNX file of a model a session opens."""

from dataclasses import replace
from pathlib import Path

import pytest

from detection.errors import StartError
from detection.network_file import (
    MOST_THREADS_OF_PARTS,
    SMALL_CACHE,
    WIDE_REGISTERS,
    network_file,
)
from detection.providers import ProviderName
from store import model as models
from store.model import Model
from store.record import Build
from tests.cells import NAME


@pytest.fixture
def built(store: Path) -> tuple[Model, Build]:
    """A model, and a record of it with a file for CPUs."""
    model = models.load(store / NAME)
    return model, replace(models.check(model), cpu="0" * 64)


AVX512 = {"avx2", WIDE_REGISTERS}


@pytest.mark.parametrize(
    ("threads", "features", "cache"),
    [
        (1, {"avx2"}, None),
        (MOST_THREADS_OF_PARTS, {"avx2"}, 2 * SMALL_CACHE),
        (1, AVX512, SMALL_CACHE),
    ],
)
def test_a_cpu_with_few_threads_runs_the_file_in_parts(
    built: tuple[Model, Build], threads: int, features: set[str], cache: int | None
) -> None:
    model, build = built
    file = network_file(model, build, ProviderName.CPU, threads, features, cache)
    assert (file.path, file.sha256) == (model.cpu_onnx, build.cpu)


@pytest.mark.parametrize(
    ("provider", "threads", "features", "cache", "cpu"),
    [
        (ProviderName.CPU, MOST_THREADS_OF_PARTS + 1, {"avx2"}, SMALL_CACHE, "0" * 64),
        (ProviderName.CPU, 1, AVX512, SMALL_CACHE + 1024, "0" * 64),
        (ProviderName.CPU, 1, AVX512, None, "0" * 64),
        (ProviderName.CPU, 2, AVX512, SMALL_CACHE, "0" * 64),
        (ProviderName.CUDA, 1, {"avx2"}, SMALL_CACHE, "0" * 64),
        (ProviderName.OPENVINO, 1, {"avx2"}, SMALL_CACHE, "0" * 64),
        (ProviderName.CPU, 1, {"avx2"}, SMALL_CACHE, None),
    ],
)
def test_all_others_run_the_usual_file(
    built: tuple[Model, Build],
    provider: ProviderName,
    threads: int,
    features: set[str],
    cache: int | None,
    cpu: str | None,
) -> None:
    model, build = built
    file = network_file(model, replace(build, cpu=cpu), provider, threads, features, cache)
    assert (file.path, file.sha256) == (model.onnx, build.sha256)


def test_without_an_int8_file_int8_is_refused(built: tuple[Model, Build]) -> None:
    model, build = built
    with pytest.raises(StartError, match="has no int8 file; run `sfd models quantize"):
        network_file(model, build, ProviderName.CPU, 1, set(), None, int8=True)
