"""Trains a network as its solver file says, and goes on after any stop."""

import functools
import json
import math
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from convert.caffe.caffe_pb2 import SolverParameter
from geometry.arrays import F32
from training import state
from training.data.annotated import AnnotatedData
from training.data.dataset import DatasetError, Photograph
from training.network.multibox import MultiBoxLoss
from training.network.network import CaffeNetwork, channels_last
from training.solver import Updater
from training.state import TrainingError
from training.stopping import stopping
from training.validation import Validation, validate


@dataclass(frozen=True)
class Job:
    """Everything that one training needs."""

    solver: SolverParameter
    network: CaffeNetwork
    data: AnnotatedData
    loss: MultiBoxLoss
    photographs: Sequence[Photograph]
    folder: Path
    held_out: Sequence[Photograph] = ()
    validation: Validation | None = None
    seed: int = 1
    bfloat16: bool = False
    save_minutes: float = 10.0


def train(job: Job, *, resume: bool, progress: Callable[[int, float], object]) -> Path:
    """Train to the solver's `max_iter`; returns the last caffemodel.

    State, snapshots and a log of JSON lines go to the job's folder. SIGINT and SIGTERM save the
    state after the current iteration and stop. `progress` is told each iteration and its loss.
    """
    before = state.begin(job.folder, resume=resume)
    job.network.refuse_shared()
    solver, network = job.solver, channels_last(job.network)
    updater = Updater(solver, network.trained())
    start = _restore(before, job, updater) if before else 0
    network.train()
    recent: deque[float] = deque(maxlen=max(solver.average_loss, 1))
    saved = time.monotonic()
    with (
        (job.folder / "log.jsonl").open("a", encoding="utf-8") as log,
        stopping() as stop,
        ThreadPoolExecutor(2) as pool,
    ):
        batches = _batches(job, start, pool)
        for iteration in range(start, solver.max_iter):
            began = time.monotonic()
            try:
                if _due(iteration, solver.test_interval) and (
                    iteration or solver.test_initialization
                ):
                    _test(job, iteration, log)
                    began = time.monotonic()
                location, confidence = _accumulate(job, batches)
            except DatasetError as error:
                _save(job, updater, iteration)
                raise TrainingError(f"{error}; mend it or leave it out, then --resume") from error
            loss = location + confidence
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at iteration {iteration}: lower base_lr in the solver "
                    f"and {state.advice(job.folder)}"
                )
            rate = updater.step(iteration)
            recent.append(loss)
            progress(iteration + 1, sum(recent) / len(recent))
            if _due(iteration, max(solver.display, 1)):
                entry = {
                    "iteration": iteration,
                    "rate": rate,
                    "loss": sum(recent) / len(recent),
                    "location": location,
                    "confidence": confidence,
                    "seconds": round(time.monotonic() - began, 3),
                    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                }
                _write(log, entry)
            done = iteration + 1
            if stop.asked or time.monotonic() - saved > job.save_minutes * 60:
                _save(job, updater, done)
                saved = time.monotonic()
            if stop.asked:
                raise TrainingError(f"stopped after iteration {done}; continue with --resume")
            if _due(done, solver.snapshot) and done != solver.max_iter:
                _snapshot(job, updater, done)
        last = _snapshot(job, updater, solver.max_iter)
        if job.validation and _due(solver.max_iter, solver.test_interval):
            _test(job, solver.max_iter, log)
    return last


def _accumulate(job: Job, batches: Iterator[tuple[Tensor, list[F32]]]) -> tuple[float, float]:
    """Sum the gradients of `iter_size` batches; returns the mean location and confidence loss."""
    job.network.zero_grad(set_to_none=True)
    sums = np.zeros(2)
    for _ in range(job.solver.iter_size):
        images, faces = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=job.bfloat16):
            codes, logits, priors = job.network.detect(images)
        parts = job.loss(codes.float(), logits.float(), priors, faces)
        torch.autograd.backward(parts[0] + parts[1])
        sums += [part.item() for part in parts]
    location, confidence = sums / job.solver.iter_size
    return float(location), float(confidence)


def _batches(
    job: Job, iteration: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[Tensor, list[F32]]]:
    """Batches from an iteration on, one made ahead; the same whether or not it is a resumption."""
    size = job.data.batch
    position = iteration * job.solver.iter_size * size

    # Examples made at the same time may be of two epochs.
    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> list[int]:
        random = np.random.default_rng([job.seed, 0, epoch])
        return random.permutation(len(job.photographs)).tolist()

    def example(at: int) -> tuple[F32, F32]:
        epoch, place = divmod(at, len(job.photographs))
        random = np.random.default_rng([job.seed, 1, at])
        return job.data.example(job.photographs[order(epoch)[place]], random)

    waiting = [pool.submit(example, position + index) for index in range(size)]
    while True:
        position += size
        ahead = [pool.submit(example, position + index) for index in range(size)]
        examples = [future.result() for future in waiting]
        waiting = ahead
        images = torch.from_numpy(np.stack([image for image, _ in examples]))
        yield images.contiguous(memory_format=torch.channels_last), [each for _, each in examples]


def _test(job: Job, iteration: int, log: IO[str]) -> None:
    if job.validation and job.held_out:
        area = validate(job.network, job.data, job.held_out, job.validation)
        _write(log, {"iteration": iteration, "average_precision": area})


def _snapshot(job: Job, updater: Updater, iteration: int) -> Path:
    """The weights under the name that Caffe would give them, and the state."""
    prefix = Path(job.solver.snapshot_prefix or job.network.source.name or "network").name
    path = job.folder / f"{prefix}_iter_{iteration}.caffemodel"
    job.network.save(path)
    _save(job, updater, iteration)
    return path


def _save(job: Job, updater: Updater, iteration: int) -> None:
    current = {
        "updater": updater.state(),
        "course": _course(job),
        "iteration": iteration,
        "photographs": [each.name for each in job.photographs],
    }
    state.save(job.folder, job.network, current)


def _course(job: Job) -> dict[str, str | int]:
    """What an iteration's number and the updater's memory mean nothing without."""
    return {
        "type": job.solver.type,
        "iter_size": job.solver.iter_size,
        "batch_size": job.data.batch,
        "--seed": job.seed,
    }


def _restore(before: dict[str, Any], job: Job, updater: Updater) -> int:
    try:
        state.check_photographs(before, job.photographs)
        # A state of an earlier version does not say; it goes on as it always did.
        course = before.get("course", _course(job))
        for name, value in _course(job).items():
            if course[name] != value:
                raise TrainingError(
                    f"{job.folder} began with {name} {course[name]}, not {value}: go on "
                    "with that, or begin in another --output with its last caffemodel as --weights"
                )
        job.network.load_state_dict(before["network"])
        updater.restore(before["updater"])
        iteration = int(before["iteration"])
    except (KeyError, RuntimeError) as error:
        raise TrainingError(f"{job.folder} has the state of another network or solver") from error
    if iteration > job.solver.max_iter:
        raise TrainingError(
            f"{job.folder} is at iteration {iteration} already, past the solver's max_iter "
            f"{job.solver.max_iter}: raise that, or choose another --output"
        )
    return iteration


def _due(iteration: int, interval: int) -> bool:
    return interval > 0 and iteration % interval == 0


def _write(log: IO[str], entry: dict[str, float]) -> None:
    log.write(json.dumps(entry) + "\n")
    log.flush()
