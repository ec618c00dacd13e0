"""Teaches one detector what others of its family see, with marked faces where there are any."""

import copy
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training import state
from training.distortions import degrade, obscure
from training.network import CaffeNetwork, channels_last
from training.operators import BatchNorm
from training.photographs import Photograph
from training.scenes import Scene, compose
from training.state import TrainingError
from training.stopping import stopping
from training.targets import targets

MEAN_BGR = (104.0, 117.0, 123.0)


@dataclass(frozen=True)
class Recipe:
    """How to distil; times in hours, sizes in pixels."""

    hours: float
    batch: int = 12
    size: int = 320
    large_size: int = 640
    large_share: float = 0.2
    """Steps with a quarter of the batch at `large_size`."""
    rate: float = 1e-3
    warmup: int = 50
    weight_decay: float = 1e-4
    average: float = 0.997
    location_weight: float = 2.0
    enlarged_share: float = 0.0
    """Of the scenes that the teachers also see enlarged twice, for faces smaller than priors."""
    momentum: float = 0.02
    """Of BatchNorm's running statistics."""
    frozen: bool = False
    """Whether BatchNorm keeps the statistics that it came with."""
    seed: int = 1
    save_minutes: float = 4.0

    def rate_at(self, step: int, share: float) -> float:
        """The rate after `step` updates and a share of the hours: a warm-up, then half a cosine."""
        warm = min(1.0, (step + 1) / self.warmup)
        return self.rate * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(share, 1))) / 2)


def as_input(images: Sequence[np.ndarray]) -> Tensor:
    """RGB uint8 [S, S, 3] pictures as Caffe's BGR, mean-free [N, 3, S, S] in channels_last."""
    stacked = torch.from_numpy(np.stack(images)[..., ::-1].astype(np.float32))
    return (stacked - torch.tensor(MEAN_BGR)).permute(0, 3, 1, 2)


def distillation_loss(
    codes: Tensor, logits: Tensor, taught_codes: Tensor, taught: Tensor
) -> tuple[Tensor, Tensor]:
    """Confidence and location loss, each per face-like prior of the teacher.

    Confidence: logistic loss on all priors and both classes, each weighted by |p - q|, so
    that the many priors on which both agree do not drown the few on which they do not. Location:
    smooth L1 on priors where the taught probability of a face passes 0.3, weighted by it.
    """
    count = taught[..., 1].sum().clamp(min=1)
    weight = (logits.detach().sigmoid() - taught).abs()
    each = functional.binary_cross_entropy_with_logits(logits, taught, reduction="none") * weight
    confidence = (each[..., 1].sum() + 0.25 * each[..., 0].sum()) / count
    share = taught[..., 1] * (taught[..., 1] > 0.3)
    away = functional.smooth_l1_loss(codes, taught_codes, reduction="none").sum(-1)
    return confidence, (away * share).sum() / count


class Average:
    """A moving average of a network's weights and statistics."""

    def __init__(self, network: CaffeNetwork, keep: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self.keep = keep
        self.updates = 0

    @torch.no_grad()
    def update(self, network: CaffeNetwork) -> None:
        """Move towards the network; faster in the first steps."""
        self.updates += 1
        keep = min(self.keep, self.updates / (self.updates + 9))
        for mine, theirs in zip(
            self.network.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - keep)


def distil(
    student: CaffeNetwork,
    teachers: Sequence[CaffeNetwork],
    photographs: Sequence[Photograph],
    folder: Path,
    recipe: Recipe,
    *,
    resume: bool,
    progress: Callable[[float, float], object],
    clock: Callable[[], float] = time.monotonic,
) -> Path:
    """Train until the hours are over; returns the caffemodel of averaged weights.

    State, snapshots of the average and a log of JSON lines go to `folder`; SIGINT and SIGTERM
    save the state after the current step and stop. `progress` is told
    the share of the hours that is over, and the loss; `clock` counts seconds.
    """
    resumed = state.begin(folder, resume=resume)
    _check(student, teachers, recipe)
    torch.manual_seed(recipe.seed)
    if recipe.frozen:
        student.freeze()
    else:
        for module in student.modules():
            if isinstance(module, BatchNorm):
                module.settle(recipe.momentum)
    channels_last(student)
    for teacher in teachers:
        # Probabilities change by a hundredth; the time, by a factor of three.
        channels_last(teacher).bfloat16()
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [each for each in student.parameters() if each.dim() > 1],
                "weight_decay": recipe.weight_decay,
            },
            {
                "params": [each for each in student.parameters() if each.dim() == 1],
                "weight_decay": 0.0,
            },
        ],
        lr=recipe.rate,
    )
    average = Average(student, recipe.average)
    run = _Run(student, average, optimizer, folder)
    if resumed:
        run.restore(resumed)
    limit = recipe.hours * 3600
    started = saved = clock()
    before = run.spent
    with (
        (folder / "log.jsonl").open("a", encoding="utf-8") as log,
        stopping() as stop,
        ThreadPoolExecutor(1) as pool,
    ):
        batches = _batches(photographs, recipe, run.step, pool)
        log.write(json.dumps(asdict(recipe)) + "\n")
        recent: list[tuple[float, float]] = []
        while run.spent < limit:
            rate = recipe.rate_at(run.step, run.spent / limit)
            for group in optimizer.param_groups:
                group["lr"] = rate
            recent.append(_step(student, teachers, next(batches), optimizer, recipe))
            average.update(student)
            run.step += 1
            run.spent = before + clock() - started
            confidence, location = np.mean(recent, axis=0).tolist()
            progress(min(run.spent / limit, 1), confidence + recipe.location_weight * location)
            if not math.isfinite(confidence + location):
                raise TrainingError("the loss is no number any more: lower --rate and --resume")
            if len(recent) == 10:
                entry = {
                    "step": run.step,
                    "minutes": round(run.spent / 60, 2),
                    "rate": rate,
                    "confidence": confidence,
                    "location": location,
                }
                log.write(json.dumps(entry) + "\n")
                log.flush()
                recent.clear()
            if stop.asked and run.spent < limit:
                run.save()
                raise TrainingError(f"stopped after step {run.step}; continue with --resume")
            if clock() - saved > recipe.save_minutes * 60:
                saved = clock()
                run.save()
    return run.save()


def _check(student: CaffeNetwork, teachers: Sequence[CaffeNetwork], recipe: Recipe) -> None:
    """Teachers and student must have the same priors, in the same order."""
    probe = torch.zeros(1, 3, recipe.size, recipe.size)
    with torch.no_grad():
        own = student.eval().detect(probe)[2]
        for teacher in teachers:
            other = teacher.eval().detect(probe)[2]
            if other.shape != own.shape or not torch.allclose(other, own):
                raise TrainingError(
                    f"{teacher.source.name}: its priors are not those of the network to train; "
                    "a teacher must be of the same family"
                )


@dataclass(frozen=True)
class _Batch:
    scenes: list[Scene]
    clear: Tensor
    """[N, 3, S, S], what the teachers see."""
    spoilt: Tensor
    """The same, as the student sees it."""
    enlarged: int
    """How many of the scenes the teachers also see enlarged."""


def _compose(photographs: Sequence[Photograph], recipe: Recipe, step: int) -> _Batch:
    random = np.random.default_rng([recipe.seed, step])
    large = random.random() < recipe.large_share
    size = recipe.large_size if large else recipe.size
    count = max(recipe.batch // 4, 1) if large else recipe.batch
    scenes = [compose(photographs, size, random) for _ in range(count)]
    clear = [obscure(scene.image, random) for scene in scenes]
    spoilt = [degrade(image, random) for image in clear]
    enlarged = math.floor(count * recipe.enlarged_share + random.random())
    return _Batch(scenes, as_input(clear), as_input(spoilt), enlarged)


def _batches(
    photographs: Sequence[Photograph], recipe: Recipe, start: int, pool: ThreadPoolExecutor
) -> Iterator[_Batch]:
    """Batch after batch, the next one made while the one before is used."""
    upcoming = pool.submit(_compose, photographs, recipe, start)
    for step in itertools.count(start + 1):
        following = pool.submit(_compose, photographs, recipe, step)
        yield upcoming.result()
        upcoming = following


def _step(
    student: CaffeNetwork,
    teachers: Sequence[CaffeNetwork],
    batch: _Batch,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
) -> tuple[float, float]:
    """One update; returns the losses of confidence and location."""
    with torch.autocast("cpu", torch.bfloat16):
        taught_codes, taught = targets(teachers, batch.scenes, batch.clear, batch.enlarged)
        codes, logits, _ = student.train().detect(batch.spoilt)
    confidence, location = distillation_loss(codes.float(), logits.float(), taught_codes, taught)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(confidence + recipe.location_weight * location)
    torch.nn.utils.clip_grad_norm_(student.parameters(), 10.0)
    optimizer.step()
    return confidence.item(), location.item()


@dataclass
class _Run:
    """What a run must remember to go on."""

    student: CaffeNetwork
    average: Average
    optimizer: torch.optim.Optimizer
    folder: Path
    step: int = 0
    spent: float = 0.0
    """Seconds."""

    def restore(self, before: dict[str, Any]) -> None:
        try:
            self.student.load_state_dict(before["student"])
            self.average.network.load_state_dict(before["average"])
            self.optimizer.load_state_dict(before["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(f"{self.folder} has the state of another network") from error
        self.step, self.spent = before["step"], before["spent"]
        self.average.updates = self.step

    def save(self) -> Path:
        current = {
            "student": self.student.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent": self.spent,
        }
        state.save(self.folder, current)
        path = self.folder / f"average-{self.step:06d}.caffemodel"
        self.average.network.save(path)
        return path
