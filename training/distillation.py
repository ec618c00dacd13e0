"""Teaches one detector what others of its family see, with marked faces where there are any."""

import copy
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.coding import encode, overlaps
from training.distortions import degrade, obscure
from training.network import CaffeNetwork
from training.photographs import Photograph
from training.scenes import Scene, compose

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
    power: float = 1.5
    """Of the difference of probabilities that weighs the logistic loss."""
    location_weight: float = 1.0
    momentum: float = 0.02
    """Of BatchNorm's running statistics."""
    seed: int = 1
    save_minutes: float = 4.0


def as_input(images: Sequence[np.ndarray]) -> Tensor:
    """RGB uint8 [S, S, 3] pictures as Caffe's BGR, mean-free [N, 3, S, S] in channels_last."""
    stacked = torch.from_numpy(np.stack(images)[..., ::-1].astype(np.float32))
    return (stacked - torch.tensor(MEAN_BGR)).permute(0, 3, 1, 2)


@torch.no_grad()
def ensemble(
    teachers: Sequence[CaffeNetwork], shares: Sequence[float], data: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean codes [N, P, 4], mean probabilities [N, P, 2] and priors [P, 8] of several teachers.

    Codes are weighted by each teacher's own probability of a face.
    """
    parts = []
    for teacher, share in zip(teachers, shares, strict=True):
        codes, logits, priors = teacher.detect(data)
        probability = logits.float().sigmoid()
        weight = share * (probability[..., 1:] + 1e-4)
        parts.append((codes.float() * weight, probability * share, weight))
    codes, probabilities, weight = (sum(part[1:], part[0]) for part in zip(*parts, strict=True))
    return codes / weight, probabilities / sum(shares), priors


def add_marks(scene: Scene, codes: Tensor, probabilities: Tensor, priors: Tensor) -> None:
    """Correct one scene's targets in place by what its marks say.

    Where no face is, none is taught. A marked face that the teacher overlooks is taught at its
    priors; one that it sees stays as the teacher has it. What the teacher sees and nobody marked
    stays too, since marks are incomplete.
    """
    centres = (priors[:, :2] + priors[:, 2:4]) / 2
    cell = (centres * scene.cells).long().clamp(0, scene.cells - 1)
    empty = torch.from_numpy(scene.empty)[cell[:, 1], cell[:, 0]]
    probabilities[empty, 1] = 0
    probabilities[empty, 0] = 1
    if not len(scene.boxes):
        return
    boxes = torch.from_numpy(scene.boxes)
    shared = overlaps(boxes, priors[:, :4])
    best, owner = shared.max(0)
    matched = best >= 0.4
    top = shared.max(1)
    for index in range(len(boxes)):
        # A face between two prior sizes still gets the prior that fits it best.
        if top.values[index] > 0.2:
            matched[top.indices[index]] = True
            owner[top.indices[index]] = index
    for index in range(len(boxes)):
        mine = matched & (owner == index)
        if not mine.any() or probabilities[mine, 1].max() >= 0.6:
            continue
        probabilities[mine, 1] = probabilities[mine, 1].clamp(min=0.9)
        probabilities[mine, 0] = probabilities[mine, 0].clamp(max=0.1)
        codes[mine] = encode(boxes[index].expand(int(mine.sum()), 4), priors[mine])


def distillation_loss(
    codes: Tensor, logits: Tensor, taught_codes: Tensor, taught: Tensor, power: float
) -> tuple[Tensor, Tensor]:
    """Confidence and location loss, each per face-like prior of the teacher.

    Confidence: logistic loss on all priors and both classes, each weighted by |p - q|^power, so
    that the many priors on which both agree do not drown the few on which they do not. Location:
    smooth L1 on priors where the taught probability of a face passes 0.3, weighted by it.
    """
    count = taught[..., 1].sum().clamp(min=1)
    weight = (logits.detach().sigmoid() - taught).abs() ** power
    each = functional.binary_cross_entropy_with_logits(logits, taught, reduction="none") * weight
    confidence = (each[..., 1].sum() + 0.25 * each[..., 0].sum()) / count
    share = taught[..., 1] * (taught[..., 1] > 0.3)
    away = functional.smooth_l1_loss(codes, taught_codes, reduction="none").sum(-1)
    return confidence, (away * share).sum() / count


def channels_last(network: CaffeNetwork) -> CaffeNetwork:
    """The network with its weights laid out as oneDNN's fastest convolutions want them."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


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
    shares: Sequence[float],
    photographs: Sequence[Photograph],
    folder: Path,
    recipe: Recipe,
) -> None:
    """Train until the hours are over; state, averaged weights and a log go to `folder`."""
    torch.manual_seed(recipe.seed)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = recipe.momentum
    decayed = [p for p in student.parameters() if p.dim() > 1]
    other = [p for p in student.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": other, "weight_decay": 0.0},
        ],
        lr=recipe.rate,
    )
    channels_last(student)
    average = Average(student, recipe.average)
    folder.mkdir(parents=True, exist_ok=True)
    state_path = folder / "state.pt"
    step, spent = 0, 0.0
    if state_path.exists():
        state = torch.load(state_path)
        student.load_state_dict(state["student"])
        average.network.load_state_dict(state["average"])
        average.updates = state["step"]
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    for teacher in teachers:
        channels_last(teacher.eval())
    random = np.random.default_rng([recipe.seed, step])
    log = (folder / "log.jsonl").open("a")
    log.write(json.dumps(asdict(recipe)) + "\n")
    started = saved = time.monotonic()
    sums: list[tuple[float, float]] = []
    limit = recipe.hours * 3600
    while True:
        now = time.monotonic()
        elapsed = spent + now - started
        done = elapsed >= limit
        if done or now - saved > recipe.save_minutes * 60:
            saved = now
            state = {
                "student": student.state_dict(),
                "average": average.network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "spent": elapsed,
            }
            torch.save(state, folder / "state.tmp")
            (folder / "state.tmp").replace(state_path)
            average.network.save(folder / f"average-{step:06d}.caffemodel")
        if done:
            return
        large = random.random() < recipe.large_share
        size = recipe.large_size if large else recipe.size
        count = max(recipe.batch // 4, 1) if large else recipe.batch
        scenes = [compose(photographs, size, random) for _ in range(count)]
        clear = [obscure(scene.image, random) for scene in scenes]
        spoilt = [degrade(image, random) for image in clear]
        rate = recipe.rate * min(1, (step + 1) / recipe.warmup)
        rate *= 0.02 + 0.98 * (1 + math.cos(math.pi * min(elapsed / limit, 1))) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            taught_codes, taught, priors = ensemble(teachers, shares, as_input(clear))
            for index, scene in enumerate(scenes):
                add_marks(scene, taught_codes[index], taught[index], priors)
            student.train()
            codes, logits, _ = student.detect(as_input(spoilt))
        confidence, location = distillation_loss(
            codes.float(), logits.float(), taught_codes, taught, recipe.power
        )
        loss = confidence + recipe.location_weight * location
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(student.parameters(), 10.0)
        optimizer.step()
        average.update(student)
        step += 1
        sums.append((confidence.item(), location.item()))
        if step % 10 == 0:
            means = np.mean(sums, 0)
            log.write(
                json.dumps(
                    {
                        "step": step,
                        "minutes": round(elapsed / 60, 2),
                        "rate": rate,
                        "confidence": round(float(means[0]), 4),
                        "location": round(float(means[1]), 4),
                    }
                )
                + "\n"
            )
            log.flush()
            sums.clear()
