"""The training loop of a distillation."""

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
from training.data.dataset import LabelledImage
from training.data.images import DatasetError
from training.distillation.average import MovingAverage
from training.distillation.batches import Batch, batches
from training.distillation.loss import distillation_loss
from training.distillation.muon import Muon
from training.distillation.teacher import Teacher
from training.log import Log
from training.network.network import CaffeNetwork, channels_last
from training.network.operators import BatchNorm
from training.precision import autocast
from training.recipe import Recipe
from training.state import TrainingError
from training.stopping import stopping


def distil(
    student: CaffeNetwork,
    teachers: Sequence[Teacher],
    dataset: Sequence[LabelledImage],
    folder: Path,
    recipe: Recipe,
    *,
    resume: bool,
    progress: Callable[[float, float], object],
    warn: Callable[[str], object] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Path:
    """Train the student for the recipe's hours; returns the caffemodel of averaged weights.

    The state, snapshots of the average, and a log of JSON lines go to `folder`. SIGINT and SIGTERM
    save the state after the current step and stop. `progress` is called with the share of the
    hours that is over, and with the loss. `warn` is called if the recipe differs from that of the
    resumed state. `clock` counts seconds.
    """
    resumed = state.begin(folder, resume=resume)
    _check(student, teachers, recipe)
    student.refuse_shared()
    if recipe.frozen:
        student.freeze()
    else:
        for module in student.modules():
            if isinstance(module, BatchNorm):
                module.set_momentum(recipe.momentum)
    channels_last(student)
    optimizers = _optimizers(student, recipe)
    average = MovingAverage(student, recipe)
    run = _Run(student, average, optimizers, folder, recipe, dataset)
    if resumed:
        run.restore(resumed)
        if "recipe" not in resumed:
            warn("the state does not say which values it was trained with: give those you used")
        elif changes := _changes(resumed["recipe"], recipe):
            warn(f"resumed with other values than before: {', '.join(changes)}")
    limit = recipe.hours * 3600
    started = saved = clock()
    before = run.spent
    with (
        Log(folder) as log,
        stopping() as stop,
        ThreadPoolExecutor(1) as pool,
    ):
        upcoming = batches(teachers, dataset, recipe, run.step, pool)
        log.write(asdict(recipe))
        recent: list[tuple[float, float]] = []
        while run.spent < limit:
            rate = recipe.rate_at(run.step, run.spent / limit)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            try:
                batch = next(upcoming)
            except DatasetError as error:
                run.save()
                raise TrainingError(
                    f"{error}; repair it or remove it from the list, then --resume"
                ) from error
            recent.append(_step(student, batch, optimizers, recipe))
            average.update(student)
            run.step += 1
            run.spent = before + clock() - started
            confidence, location = np.mean(recent, axis=0).tolist()
            loss = confidence + recipe.location_weight * location
            progress(min(run.spent / limit, 1), loss)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss}: lower --rate and {state.advice(folder)}"
                )
            if len(recent) == 10:
                entry = {
                    "step": run.step,
                    "minutes": round(run.spent / 60, 2),
                    "rate": rate,
                    "confidence": confidence,
                    "location": location,
                }
                log.write(entry, run.save)
                recent.clear()
            if stop.asked and run.spent < limit:
                run.save()
                raise TrainingError(f"stopped after step {run.step}; continue with --resume")
            if clock() - saved > recipe.save_minutes * 60:
                saved = clock()
                run.save()
    return run.save()


def _changes(before: dict[str, Any], recipe: Recipe) -> list[str]:
    """The values that differ from a state's recipe."""
    return [
        f"{name} {value} (was {before[name]})"
        for name, value in asdict(recipe).items()
        if before.get(name, value) != value
    ]


def _optimizers(student: CaffeNetwork, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for pointwise convolutions, AdamW for the rest, without weight decay for vectors."""
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
    betas = recipe.adam_beta1, recipe.adam_beta2
    adam = torch.optim.AdamW(groups, lr=recipe.rate, betas=betas)
    if not pointwise:
        return [adam]
    return [Muon(pointwise, recipe), adam]


def _check(student: CaffeNetwork, teachers: Sequence[Teacher], recipe: Recipe) -> None:
    """Teachers and student must have the same priors, in the same order, and the same heads."""
    for network in (student, *teachers):
        channels = next(iter(network.source.inputs.values()))[1]
        if channels != 3:
            raise TrainingError(
                f"{network.source.name}: has an input of {channels} channels; distillation needs 3"
            )
        heads = network.heads
        if heads and (heads.classes, heads.background, heads.activation) != (2, 0, "logistic"):
            raise TrainingError(
                f"{network.source.name}: has {heads.classes} classes, background "
                f"{heads.background}, {heads.activation}; distillation needs background and face "
                "in that order, each with a Sigmoid"
            )
    probe = torch.zeros(1, 3, recipe.size, recipe.size)
    with torch.no_grad():
        own = student.eval().detect(probe)[2]
        for teacher in teachers:
            other = teacher.detect(probe)[2]
            if other.shape != own.shape or not torch.allclose(other, own):
                raise TrainingError(
                    f"{teacher.source.name}: its priors differ from those of the network to train; "
                    "use a teacher of the same family"
                )


def _step(
    student: CaffeNetwork,
    batch: Batch,
    optimizers: Sequence[torch.optim.Optimizer],
    recipe: Recipe,
) -> tuple[float, float]:
    """Update the weights once; returns the confidence and the location loss."""
    with autocast():
        codes, logits, priors = student.train().detect(batch.data)
    confidence, location = distillation_loss(
        codes.float(), logits.float(), batch.codes, batch.probabilities, priors, recipe
    )
    student.zero_grad(set_to_none=True)
    torch.autograd.backward(confidence + recipe.location_weight * location)
    torch.nn.utils.clip_grad_norm_(student.parameters(), recipe.clip_norm)
    for optimizer in optimizers:
        optimizer.step()
    return confidence.item(), location.item()


@dataclass
class _Run:
    """Everything that a resumed run continues from."""

    student: CaffeNetwork
    average: MovingAverage
    optimizers: Sequence[torch.optim.Optimizer]
    folder: Path
    recipe: Recipe
    dataset: Sequence[LabelledImage]
    step: int = 0
    spent: float = 0.0
    """Seconds."""

    def restore(self, before: dict[str, Any]) -> None:
        """Continue from a saved state; TrainingError if it belongs to another run."""
        try:
            state.check_images(before, self.dataset)
            if before["frozen"] != self.recipe.frozen:
                began = "with" if before["frozen"] else "without"
                raise TrainingError(
                    f"{self.folder} was started {began} --frozen: resume it {began} --frozen"
                )
            if "optimizer" in before:
                raise TrainingError(
                    f"{self.folder} was started by an older sfd with another optimizer: start "
                    "again in another --output, with the last average-NNNNNN.caffemodel of this "
                    "one as --weights"
                )
            self.student.load_state_dict(before["network"])
            self.average.network.load_state_dict(before["average"])
            for optimizer, saved in zip(self.optimizers, before["optimizers"], strict=True):
                _load(optimizer, saved)
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(f"{self.folder} has the state of another network") from error
        self.step, self.spent = before["step"], before["spent"]
        self.average.updates = self.step

    def save(self) -> Path:
        """Write the state, and the averaged weights as a caffemodel; returns the latter's path."""
        current = {
            "average": self.average.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "spent": self.spent,
            "frozen": self.recipe.frozen,
            "recipe": asdict(self.recipe),
            **state.names(self.dataset),
        }
        state.save(self.folder, self.student, current)
        path = self.folder / f"average-{self.step:06d}.caffemodel"
        self.average.network.save(path)
        return path


def _load(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load what the optimizer remembers of its weights, but not its settings.

    Those are the recipe's, which a resumed run may change.
    """
    settings = [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(saved)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
