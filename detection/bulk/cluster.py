"""Runs the shards of a job on a Ray cluster: Ray Data gives them to a pool of actors.

Ray starts an actor again if it or its node dies, and gives its shard to another one. That is
harmless: a shard's file is written whole, and twice the same.
"""

import logging
import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from detection.bulk.errors import BulkError
from detection.bulk.names import is_url
from detection.bulk.plan import Plan
from detection.bulk.reading import reason
from detection.bulk.settings import BulkSettings
from detection.bulk.worker import Report, Worker
from detection.providers import PROVIDERS
from sfd.errors import SfdError

NEEDS_GPU = {name for name, provider in PROVIDERS.items() if provider.needs_cuda}
CPUS = 4
"""CPUs of an actor: with more, one process's event loop would limit it."""

CONNECT_S = 20.0
"""How long a cluster may take to accept a connection, in seconds."""


class Actor:
    """A `Worker` as Ray Data calls it: with a batch of one shard's number."""

    def __init__(self, plan: Plan, out: str, settings: BulkSettings) -> None:
        self._arguments = plan, out, settings
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do one shard. Returns its report, or the message of the error that ends the job."""
        (shard,) = batch["shard"].tolist()
        try:
            if self._worker is None:
                self._worker = Worker(*self._arguments)
            report = self._worker.run(shard)
        except SfdError as error:
            # An exception would come back with Ray's traceback around it.
            return {"pictures": [0], "types": [[]], "counts": [[]], "error": [str(error)]}
        types, counts = list(report.failures), list(report.failures.values())
        return {
            "pictures": [report.pictures],
            "types": [types],
            "counts": [counts],
            "error": [""],
        }


def run(
    plan: Plan,
    missing: Sequence[int],
    out: str,
    settings: BulkSettings,
    address: str,
    cpus: int | None,
) -> Iterator[Report]:
    """Do the shards on a cluster, and yield a report of each in the order in which they end.

    `out` and the model store must be the same files on every node. Raises BulkError if Ray can't be
    reached or an actor fails.
    """
    import ray
    import ray.data

    _check_reachable(address)
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(
                address=address or None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=None if address else False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise BulkError(f"--ray {address}: {reason(error)}") from None
    try:
        yield from _run(plan, missing, out, settings, cpus)
    except ray.exceptions.RayError as error:
        raise BulkError(f"Ray: {reason(error)}") from error
    finally:
        if ours:
            ray.shutdown()


def _run(
    plan: Plan, missing: Sequence[int], out: str, settings: BulkSettings, cpus: int | None
) -> Iterator[Report]:
    import ray
    import ray.data

    sizes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    cpus = cpus or max(1, int(min([CPUS, *filter(None, sizes)])))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # A shard may take as long as it takes.
    context.execution_no_progress_timeout_s = -1
    found = ray.data.from_items(
        [{"shard": shard} for shard in missing], override_num_blocks=len(missing)
    ).map_batches(
        Actor,
        fn_constructor_args=(plan, _everywhere(out), _for_actors(settings, cpus)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_tasks_in_flight_per_actor=2),
        num_cpus=cpus,
        num_gpus=1 if settings.provider in NEEDS_GPU else 0,
    )
    for row in found.iter_rows():
        if row["error"]:
            raise BulkError(str(row["error"]))
        counted = zip(row["types"], row["counts"], strict=True)
        yield Report(int(row["pictures"]), Counter({str(k): int(n) for k, n in counted}))


def _check_reachable(address: str) -> None:
    """Raise BulkError if nothing listens at HOST:PORT. Ray would try for many minutes."""
    host, separator, port = address.rpartition("://")[2].rpartition(":")
    if not (separator and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise BulkError(f"--ray {address}: no Ray cluster is there: {reason(error)}") from None


def _everywhere(folder: str) -> str:
    """A folder as a name that is the same in every process."""
    return folder if is_url(folder) else os.path.abspath(folder)


def _for_actors(settings: BulkSettings, cpus: int) -> BulkSettings:
    """The settings of an actor: its own CPUs, and a store that it finds from any folder."""
    store = settings.model_store
    changes: dict[str, object] = {"threads": cpus}
    if store is not None:
        changes["model_store"] = store.resolve()
    return settings.model_copy(update=changes)
