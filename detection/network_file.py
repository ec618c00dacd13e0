"""The ONNX file of a model that a session opens."""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from detection.errors import StartError
from detection.providers import ProviderName
from store import model as models
from store.model import Model
from store.record import Build

MOST_THREADS_OF_PARTS = 2
"""On AVX2, `model.cpu.onnx` takes 0.76 to 0.86 times as long as `model.onnx` with one thread, and
0.89 to 0.95 times with two: each has less of a part to compute. More have not been measured."""
WIDE_REGISTERS = "avx512f"
"""With this feature, onnxruntime reads a wide value only half as often: once for each block of 64
outputs. On a Xeon with it, and 2 MiB of cache for each core, `model.cpu.onnx` took 1.01 to 1.11
times as long with one thread, and 1.11 to 1.14 times with two."""
SMALL_CACHE = 1 << 20
"""With this many bytes of cache for each core, wide values cost time with AVX-512, too. On an EPYC
(Zen 5) two workers of one thread each took 0.85 times as long with `model.cpu.onnx`, one alone 0.95
to 0.98 times, but one worker with two threads took 1.14 times as long."""


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """An ONNX file and its hash in `build.json`."""

    path: Path
    sha256: str


def network_file(
    model: Model,
    build: Build,
    provider: ProviderName,
    threads: int,
    features: Set[str],
    cache: int | None,
    *,
    int8: bool = False,
) -> NetworkFile:
    """The file that a provider runs with a number of threads, or the int8 file.

    The CPU has a file of its own where that is faster: it depends on the threads and on the
    processor's features and the `cache` of each core, in bytes. Raises StartError if there is no
    int8 file.
    """
    if int8:
        if build.int8 is None:
            raise StartError(
                f"SFD_PRECISION=int8 does not work: {model.name} has no int8 file; run "
                f"`{models.quantizing(model)}`"
            )
        return NetworkFile(model.int8, build.int8.sha256)
    takes_parts = provider is ProviderName.CPU and _takes_parts(threads, features, cache)
    if takes_parts and build.cpu is not None:
        return NetworkFile(model.cpu_onnx, build.cpu)
    return NetworkFile(model.onnx, build.sha256)


def _takes_parts(threads: int, features: Set[str], cache: int | None) -> bool:
    """Whether wide values in parts are faster on this processor."""
    if WIDE_REGISTERS in features:
        return threads == 1 and cache is not None and cache <= SMALL_CACHE
    return threads <= MOST_THREADS_OF_PARTS
