"""What to teach of a scene: what teachers see in it, corrected by what is marked."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from geometry.coding import decode
from geometry.nms import nms
from geometry.voting import vote
from training.data.scenes import Scene
from training.distillation.teacher import Teacher
from training.network.boxes import encode, overlaps

MARKED = 0.9
"""The probability that a marked face is taught with."""
SMALL = 96
"""Pixels: the longest side, once enlarged, of a face that is worth a closer look."""


def targets(
    teachers: Sequence[Teacher], scenes: Sequence[Scene], data: Tensor, enlarged: int
) -> tuple[Tensor, Tensor]:
    """Codes [N, P, 4] and probabilities [N, P, 2] to teach of scenes, seen as `data` [N, 3, S, S].

    Marked faces come before those that the teachers see only when they look closer, which they do
    in the first `enlarged` scenes. What they see and nobody marked stays: marks are incomplete.
    """
    codes, probabilities, priors = ensemble(teachers, data)
    for index in range(len(scenes)):
        agree(codes[index], probabilities[index], priors)
    for index, scene in enumerate(scenes):
        boxes = torch.from_numpy(scene.boxes)
        certain = torch.full((len(boxes),), MARKED)
        add_faces(boxes, certain, codes[index], probabilities[index], priors)
    closer = look_closer(teachers, data[:enlarged]) if enlarged else []
    for index, (boxes, scores) in enumerate(closer):
        refine(boxes, codes[index], probabilities[index], priors)
        add_faces(boxes, scores, codes[index], probabilities[index], priors)
    for index, scene in enumerate(scenes):
        clear_empty(scene, probabilities[index], priors)
    return codes, probabilities


@torch.no_grad()
def ensemble(teachers: Sequence[Teacher], data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean codes [N, P, 4], mean probabilities [N, P, 2] and priors [P, 8] of several teachers.

    Codes are weighted by each teacher's own probability of a face.
    """
    parts = []
    for teacher in teachers:
        codes, logits, priors = teacher.detect(data)
        probability = logits.float().sigmoid()
        weight = probability[..., 1:] + 1e-4
        parts.append((codes.float() * weight, probability, weight))
    codes, probabilities, weight = (sum(part[1:], part[0]) for part in zip(*parts, strict=True))
    return codes / weight, probabilities / len(teachers), priors


def look_closer(
    teachers: Sequence[Teacher], data: Tensor, least: float = 0.7
) -> list[tuple[Tensor, Tensor]]:
    """Small faces that the teachers see in `data` [N, 3, S, S] enlarged twice.

    For each scene boxes [F, 4] in fractions of it, and probabilities [F] of at least `least`.
    A face smaller than the smallest prior fits one when the scene is enlarged, and is found more
    exactly.
    """
    larger = functional.interpolate(data, scale_factor=2, mode="bicubic", align_corners=False)
    codes, probabilities, priors = ensemble(teachers, larger)
    seen = []
    for code, probability in zip(codes, probabilities[..., 1], strict=True):
        likely = probability >= least
        scores = probability[likely]
        _, kept, voted = _faces(code[likely], scores, priors[likely], 400)
        small = (voted[:, 2:] - voted[:, :2]).max(1).values * larger.shape[-1] <= SMALL
        seen.append((voted[small], scores[kept][small]))
    return seen


def agree(codes: Tensor, probabilities: Tensor, priors: Tensor) -> None:
    """Teach one place for each face that the teachers see, in place, at all priors that see it."""
    likely = (probabilities[:, 1] > 0.1).nonzero()[:, 0]
    if not len(likely):
        return
    boxes, _, voted = _faces(codes[likely], probabilities[likely, 1], priors[likely], 750)
    best, owner = overlaps(boxes, voted).max(1)
    near = best >= 0.4
    codes[likely[near]] = encode(voted[owner[near]], priors[likely[near]])


def _faces(
    codes: Tensor, scores: Tensor, priors: Tensor, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, 4] of codes, which NMS keeps [K], and where box voting puts these [K, 4]."""
    corners, variances = priors.numpy().reshape(-1, 2, 4).swapaxes(0, 1)
    boxes = decode(codes.numpy(), corners, variances)
    kept = nms(boxes, scores.numpy(), 0.3, most)
    voted = vote(boxes, scores.numpy(), kept)
    return torch.from_numpy(boxes), torch.from_numpy(kept), torch.from_numpy(voted)


def refine(boxes: Tensor, codes: Tensor, probabilities: Tensor, priors: Tensor) -> None:
    """Teach faces, seen by the teacher or marked, where a closer look has them, in place.

    `boxes` are [F, 4] in fractions. How sure the teacher is stays: raised for small faces alone, it
    would put false ones before large faces that are real.
    """
    likely = (probabilities[:, 1] > 0.3).nonzero()[:, 0]
    if not len(boxes) or not len(likely):
        return
    corners, variances = priors[likely].numpy().reshape(-1, 2, 4).swapaxes(0, 1)
    seen = torch.from_numpy(decode(codes[likely].numpy(), corners, variances))
    best, owner = overlaps(seen, boxes).max(1)
    near = best >= 0.4
    codes[likely[near]] = encode(boxes[owner[near]], priors[likely[near]])


def add_faces(
    boxes: Tensor, scores: Tensor, codes: Tensor, probabilities: Tensor, priors: Tensor
) -> None:
    """Teach faces that the teacher overlooks, in place, at their priors and with their scores.

    One that it sees stays as the teacher has it. `boxes` are [F, 4] in fractions.
    """
    if not len(boxes):
        return
    shared = overlaps(boxes, priors[:, :4])
    best, owner = shared.max(0)
    matched = best >= 0.4
    top = shared.max(1)
    for index in range(len(boxes)):
        # A face between two prior sizes still gets the prior that fits it best.
        if top.values[index] > 0.2:
            matched[top.indices[index]] = True
            owner[top.indices[index]] = index
    for index, score in enumerate(scores):
        mine = matched & (owner == index)
        if not mine.any() or probabilities[mine, 1].max() >= 0.6:
            continue
        probabilities[mine, 1] = probabilities[mine, 1].clamp(min=score)
        probabilities[mine, 0] = probabilities[mine, 0].clamp(max=1 - score)
        codes[mine] = encode(boxes[index].expand(int(mine.sum()), 4), priors[mine])


def clear_empty(scene: Scene, probabilities: Tensor, priors: Tensor) -> None:
    """Teach no face, in place, in the cells of a scene that are known to have none."""
    centres = (priors[:, :2] + priors[:, 2:4]) / 2
    cell = (centres * scene.cells).long().clamp(0, scene.cells - 1)
    empty = torch.from_numpy(scene.empty)[cell[:, 1], cell[:, 0]]
    probabilities[empty, 1] = 0
    probabilities[empty, 0] = 1
