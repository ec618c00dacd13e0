"""Teaches one detector what others of its family see, with marked faces where there are any."""

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training import state
from training.data.dataset import DatasetError, Photograph
from training.distillation.batches import Lesson, lessons
from training.distillation.loss import imitation_loss
from training.distillation.muon import Muon
from training.distillation.teacher import Teacher
from training.network.network import CaffeNetwork, channels_last
from training.network.operators import BatchNorm
from training.precision import autocast
from training.recipe import Recipe
from training.state import TrainingError
from training.stopping import stopping


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
    teachers: Sequence[Teacher],
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
    student.refuse_shared()
    if recipe.frozen:
        student.freeze()
    else:
        for module in student.modules():
            if isinstance(module, BatchNorm):
                module.settle(recipe.momentum)
    channels_last(student)
    optimizers = _optimizers(student, recipe)
    average = Average(student, recipe.average)
    run = _Run(student, average, optimizers, folder, recipe.frozen, photographs)
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
        taught = lessons(teachers, photographs, recipe, run.step, pool)
        log.write(json.dumps(asdict(recipe)) + "\n")
        recent: list[tuple[float, float]] = []
        while run.spent < limit:
            rate = recipe.rate_at(run.step, run.spent / limit)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            try:
                lesson = next(taught)
            except DatasetError as error:
                run.save()
                raise TrainingError(f"{error}; mend it or leave it out, then --resume") from error
            recent.append(_step(student, lesson, optimizers, recipe))
            average.update(student)
            run.step += 1
            run.spent = before + clock() - started
            confidence, location = np.mean(recent, axis=0).tolist()
            progress(min(run.spent / limit, 1), confidence + recipe.location_weight * location)
            if not math.isfinite(confidence + location):
                raise TrainingError(
                    f"the loss is no number any more: lower --rate and {state.advice(folder)}"
                )
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


def _optimizers(student: CaffeNetwork, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for pointwise convolutions, AdamW for the rest; what is no matrix does not decay."""
    pointwise, kernels, vectors = [], [], []
    for each in student.parameters():
        if each.dim() == 1:
            vectors.append(each)
        elif each.shape[1] > 1 and each[0, 0].numel() == 1:
            pointwise.append(each)
        else:
            kernels.append(each)
    groups = [
        {"params": kernels, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=recipe.rate)
    if not pointwise:
        return [adam]
    return [Muon(pointwise, recipe.rate, recipe.weight_decay), adam]


def _check(student: CaffeNetwork, teachers: Sequence[Teacher], recipe: Recipe) -> None:
    """Teachers and student must have the same priors, in the same order, and the same heads."""
    for network in (student, *teachers):
        channels = next(iter(network.source.inputs.values()))[1]
        if channels != 3:
            raise TrainingError(
                f"{network.source.name}: takes {channels} channels; distillation wants 3"
            )
        heads = network.heads
        if heads and (heads.classes, heads.background, heads.activation) != (2, 0, "logistic"):
            raise TrainingError(
                f"{network.source.name}: has {heads.classes} classes, background "
                f"{heads.background}, {heads.activation}; distillation wants background and face "
                "in that order, each with a Sigmoid"
            )
    probe = torch.zeros(1, 3, recipe.size, recipe.size)
    with torch.no_grad():
        own = student.eval().detect(probe)[2]
        for teacher in teachers:
            other = teacher.detect(probe)[2]
            if other.shape != own.shape or not torch.allclose(other, own):
                raise TrainingError(
                    f"{teacher.source.name}: its priors are not those of the network to train; "
                    "a teacher must be of the same family"
                )


def _step(
    student: CaffeNetwork,
    lesson: Lesson,
    optimizers: Sequence[torch.optim.Optimizer],
    recipe: Recipe,
) -> tuple[float, float]:
    """One update; returns the losses of confidence and location."""
    with autocast():
        codes, logits, priors = student.train().detect(lesson.data)
    confidence, location = imitation_loss(
        codes.float(), logits.float(), lesson.codes, lesson.probabilities, priors
    )
    student.zero_grad(set_to_none=True)
    torch.autograd.backward(confidence + recipe.location_weight * location)
    torch.nn.utils.clip_grad_norm_(student.parameters(), 10.0)
    for optimizer in optimizers:
        optimizer.step()
    return confidence.item(), location.item()


@dataclass
class _Run:
    """What a run must remember to go on."""

    student: CaffeNetwork
    average: Average
    optimizers: Sequence[torch.optim.Optimizer]
    folder: Path
    frozen: bool
    photographs: Sequence[Photograph]
    step: int = 0
    spent: float = 0.0
    """Seconds."""

    def restore(self, before: dict[str, Any]) -> None:
        try:
            state.check_photographs(before, self.photographs)
            if before["frozen"] != self.frozen:
                began = "with" if before["frozen"] else "without"
                raise TrainingError(f"{self.folder} began {began} --frozen: go on {began} it")
            if "optimizer" in before:
                raise TrainingError(
                    f"{self.folder} began with an older sfd, by another optimizer: start anew in "
                    "another --output, with --weights of its last average-NNNNNN.caffemodel"
                )
            self.student.load_state_dict(before["network"])
            self.average.network.load_state_dict(before["average"])
            for optimizer, was in zip(self.optimizers, before["optimizers"], strict=True):
                optimizer.load_state_dict(was)
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(f"{self.folder} has the state of another network") from error
        self.step, self.spent = before["step"], before["spent"]
        self.average.updates = self.step

    def save(self) -> Path:
        current = {
            "average": self.average.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "spent": self.spent,
            "frozen": self.frozen,
            "photographs": [each.name for each in self.photographs],
        }
        state.save(self.folder, self.student, current)
        path = self.folder / f"average-{self.step:06d}.caffemodel"
        self.average.network.save(path)
        return path
