"""Trains a network by its solver file, and resumes after any stop."""

import functools
import math
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convert.caffe.caffe_pb2 import SolverParameter
from geometry.arrays import F32
from training import state
from training.data.annotated import AnnotatedData
from training.data.dataset import LabelledImage
from training.data.images import DatasetError
from training.log import Log
from training.network.multibox import MultiBoxLoss
from training.network.network import CaffeNetwork, channels_last
from training.solver import Updater
from training.state import TrainingError
from training.stopping import stopping
from training.validation import Validation, validate


@dataclass(frozen=True)
class Job:
    """Everything that a training from a solver file needs."""

    solver: SolverParameter
    network: CaffeNetwork
    data: AnnotatedData
    loss: MultiBoxLoss
    dataset: Sequence[LabelledImage]
    folder: Path
    held_out: Sequence[LabelledImage] = ()
    validation: Validation | None = None
    seed: int = 1
    bfloat16: bool = False
    save_minutes: float = 10.0


def train(job: Job, *, resume: bool, progress: Callable[[int, float], object]) -> Path:
    """Train to the solver's `max_iter`; returns the last caffemodel.

    The state, snapshots and a log of JSON lines go to the job's folder. SIGINT and SIGTERM save the
    state after the current iteration and stop. `progress` is called with each iteration and its
    loss.
    """
    before = state.begin(job.folder, resume=resume)
    job.network.refuse_shared()
    solver, network = job.solver, channels_last(job.network)
    updater = Updater(solver, network.trained_parameters())
    start = _restore(before, job, updater) if before else 0
    network.train()
    recent: deque[float] = deque(maxlen=max(solver.average_loss, 1))
    saved = time.monotonic()
    with (
        Log(job.folder) as log,
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
                    _test(job, updater, iteration, log)
                    began = time.monotonic()
                location, confidence = _accumulate(job, batches)
            except DatasetError as error:
                _save(job, updater, iteration)
                raise TrainingError(
                    f"{error}; repair it or remove it from the list, then --resume"
                ) from error
            loss = location + confidence
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at iteration {iteration}: lower base_lr in the solver "
                    f"and {state.advice(job.folder)}"
                )
            rate = updater.step(iteration)
            done = iteration + 1
            recent.append(loss)
            progress(done, sum(recent) / len(recent))
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
                log.write(entry, functools.partial(_save, job, updater, done))
            if stop.asked or time.monotonic() - saved > job.save_minutes * 60:
                _save(job, updater, done)
                saved = time.monotonic()
            if stop.asked:
                raise TrainingError(f"stopped after iteration {done}; continue with --resume")
            if _due(done, solver.snapshot) and done != solver.max_iter:
                _snapshot(job, updater, done)
        last = _snapshot(job, updater, solver.max_iter)
        if job.validation and _due(solver.max_iter, solver.test_interval):
            _test(job, updater, solver.max_iter, log)
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
    """Batches from an iteration on, with one made ahead. A resumed run gets the same batches."""
    size = job.data.batch
    position = iteration * job.solver.iter_size * size

    # Two epochs can be in use at the same time.
    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> list[int]:
        random = np.random.default_rng([job.seed, 0, epoch])
        return random.permutation(len(job.dataset)).tolist()

    def example(at: int) -> tuple[F32, F32]:
        epoch, place = divmod(at, len(job.dataset))
        random = np.random.default_rng([job.seed, 1, at])
        return job.data.example(job.dataset[order(epoch)[place]], random)

    waiting = [pool.submit(example, position + index) for index in range(size)]
    while True:
        position += size
        ahead = [pool.submit(example, position + index) for index in range(size)]
        examples = [future.result() for future in waiting]
        waiting = ahead
        images = torch.from_numpy(np.stack([image for image, _ in examples]))
        yield images.contiguous(memory_format=torch.channels_last), [each for _, each in examples]


def _test(job: Job, updater: Updater, iteration: int, log: Log) -> None:
    if job.validation and job.held_out:
        area = validate(job.network, job.data, job.held_out, job.validation)
        entry = {"iteration": iteration, "average_precision": area}
        log.write(entry, functools.partial(_save, job, updater, iteration))


def _snapshot(job: Job, updater: Updater, iteration: int) -> Path:
    """Save the weights under Caffe's name for them, and the state; returns the former's path."""
    prefix = Path(job.solver.snapshot_prefix or job.network.source.name or "network").name
    path = job.folder / f"{prefix}_iter_{iteration}.caffemodel"
    state.check_finite(job.folder, job.network)
    job.network.save(path)
    _save(job, updater, iteration)
    return path


def _save(job: Job, updater: Updater, iteration: int) -> None:
    current = {
        "updater": updater.state(),
        "course": _settings(job),
        "iteration": iteration,
        **state.names(job.dataset),
    }
    state.save(job.folder, job.network, current)


def _settings(job: Job) -> dict[str, str | int]:
    """The settings that must not change when a run is resumed."""
    return {
        "type": job.solver.type,
        "iter_size": job.solver.iter_size,
        "batch_size": job.data.batch,
        "--seed": job.seed,
    }


def _restore(before: dict[str, Any], job: Job, updater: Updater) -> int:
    try:
        state.check_images(before, job.dataset)
        # The state of an earlier version does not have them.
        settings = before.get("course", _settings(job))
        for name, value in _settings(job).items():
            if settings[name] != value:
                raise TrainingError(
                    f"{job.folder} was started with {name} {settings[name]}, not {value}: resume "
                    f"it with {settings[name]}, or start in another --output with its last "
                    "caffemodel as --weights"
                )
        job.network.load_state_dict(before["network"])
        updater.restore(before["updater"])
        iteration = int(before["iteration"])
    except (KeyError, RuntimeError) as error:
        raise TrainingError(f"{job.folder} has the state of another network or solver") from error
    if iteration > job.solver.max_iter:
        raise TrainingError(
            f"{job.folder} is already at iteration {iteration}, past the solver's max_iter "
            f"{job.solver.max_iter}: raise max_iter, or choose another --output"
        )
    return iteration


def _due(iteration: int, interval: int) -> bool:
    return interval > 0 and iteration % interval == 0
