"""The student's targets: what the teachers predict for a scene, corrected by its labels."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from geometry.coding import decode
from geometry.nms import nms
from geometry.voting import vote
from training.data.scenes import Scene
from training.distillation.teacher import Teacher
from training.network.boxes import encode, iou
from training.recipe import Recipe


def make_targets(
    teachers: Sequence[Teacher],
    scenes: Sequence[Scene],
    data: Tensor,
    enlarged: int,
    recipe: Recipe,
) -> tuple[Tensor, Tensor]:
    """Target codes [N, P, 4] and probabilities [N, P, 2] of scenes, seen as `data` [N, 3, S, S].

    Labelled faces that the teachers miss are added. So are faces that the teachers detect only
    when a scene is enlarged, which is done for the first `enlarged` scenes. Faces that only the
    teachers detect are kept, because labels are incomplete. With `recipe.label_boxes`, a labelled
    face has its label's box, whatever box the teachers draw.
    """
    codes, probabilities, priors = ensemble(teachers, data)
    for index in range(len(scenes)):
        vote_boxes(codes[index], probabilities[index], priors, recipe)
    for index, scene in enumerate(scenes):
        boxes = torch.from_numpy(scene.boxes)
        scores = torch.full((len(boxes),), recipe.label_probability)
        add_faces(boxes, scores, codes[index], probabilities[index], priors, recipe)
    closer = detect_enlarged(teachers, data[:enlarged], recipe) if enlarged else []
    for index, (boxes, scores) in enumerate(closer):
        refine_boxes(boxes, codes[index], probabilities[index], priors, recipe)
        add_faces(boxes, scores, codes[index], probabilities[index], priors, recipe)
    if recipe.label_boxes:
        for index, scene in enumerate(scenes):
            labelled = torch.from_numpy(scene.boxes)
            refine_boxes(labelled, codes[index], probabilities[index], priors, recipe)
    for index, scene in enumerate(scenes):
        clear_empty(scene, probabilities[index], priors)
    return codes, probabilities


@torch.no_grad()
def ensemble(teachers: Sequence[Teacher], data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean codes [N, P, 4], mean probabilities [N, P, 2] and priors [P, 8] of several teachers.

    Each teacher's codes are weighted by its own probability of a face.
    """
    parts = []
    for teacher in teachers:
        codes, logits, priors = teacher.detect(data)
        probability = logits.float().sigmoid()
        # The small addend keeps the mean defined where all probabilities are 0.
        weight = probability[..., 1:] + 1e-4
        parts.append((codes.float() * weight, probability, weight))
    codes, probabilities, weight = (sum(part[1:], part[0]) for part in zip(*parts, strict=True))
    return codes / weight, probabilities / len(teachers), priors


def detect_enlarged(
    teachers: Sequence[Teacher], data: Tensor, recipe: Recipe
) -> list[tuple[Tensor, Tensor]]:
    """Small faces that the teachers detect in `data` [N, 3, S, S] when it is enlarged twice.

    For each scene boxes [F, 4] in fractions of it, and probabilities [F] of at least
    `recipe.enlarged_min`. A face smaller than the smallest prior fits one in the enlarged scene,
    and its box is more accurate there.
    """
    # For channels_last data, PyTorch takes 1.5 times as long, with the same result.
    planes = data.contiguous()
    larger = functional.interpolate(planes, scale_factor=2, mode="bicubic", align_corners=False)
    codes, probabilities, priors = ensemble(teachers, larger)
    found = []
    for code, probability in zip(codes, probabilities[..., 1], strict=True):
        likely = probability >= recipe.enlarged_min
        scores = probability[likely]
        _, kept, voted = _faces(
            code[likely], scores, priors[likely], recipe.nms_iou, recipe.enlarged_max_faces
        )
        sides = (voted[:, 2:] - voted[:, :2]).max(1).values * larger.shape[-1]
        small = sides <= recipe.enlarged_side
        found.append((voted[small], scores[kept][small]))
    return found


def vote_boxes(codes: Tensor, probabilities: Tensor, priors: Tensor, recipe: Recipe) -> None:
    """Give all priors that see the same face one target box, by box voting. Changes `codes`."""
    likely = (probabilities[:, 1] > recipe.vote_min).nonzero()[:, 0]
    if not len(likely):
        return
    boxes, _, voted = _faces(
        codes[likely], probabilities[likely, 1], priors[likely], recipe.nms_iou, recipe.max_faces
    )
    best, owner = iou(boxes, voted).max(1)
    near = best >= recipe.match_iou
    codes[likely[near]] = encode(voted[owner[near]], priors[likely[near]])


def _faces(
    codes: Tensor, scores: Tensor, priors: Tensor, nms_iou: float, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, 4] of codes, indices [K] of those that NMS keeps, and these after voting [K, 4]."""
    boxes = _decode(codes, priors)
    kept = nms(boxes.numpy(), scores.numpy(), nms_iou, most)
    voted = vote(boxes.numpy(), scores.numpy(), kept)
    return boxes, torch.from_numpy(kept), torch.from_numpy(voted)


def _decode(codes: Tensor, priors: Tensor) -> Tensor:
    """Boxes [N, 4] in NumPy's arithmetic, which has no limit on their size."""
    corners, variances = priors.numpy().reshape(-1, 2, 4).swapaxes(0, 1)
    return torch.from_numpy(decode(codes.numpy(), corners, variances))


def refine_boxes(
    boxes: Tensor, codes: Tensor, probabilities: Tensor, priors: Tensor, recipe: Recipe
) -> None:
    """Move the targets of known faces to `boxes` [F, 4], which are more accurate. Changes `codes`.

    Probabilities stay as they are. If only those of small faces rose, false small faces would rank
    before true large ones.
    """
    likely = (probabilities[:, 1] > recipe.refine_min).nonzero()[:, 0]
    if not len(boxes) or not len(likely):
        return
    best, owner = iou(_decode(codes[likely], priors[likely]), boxes).max(1)
    near = best >= recipe.match_iou
    codes[likely[near]] = encode(boxes[owner[near]], priors[likely[near]])


def add_faces(
    boxes: Tensor,
    scores: Tensor,
    codes: Tensor,
    probabilities: Tensor,
    priors: Tensor,
    recipe: Recipe,
) -> None:
    """Add faces that the teachers miss, at the priors that match them, with their scores.

    Faces that the teachers detect stay as they are. `boxes` are [F, 4] in fractions. Changes
    `codes` and `probabilities`.
    """
    if not len(boxes):
        return
    shared = iou(boxes, priors[:, :4])
    best, owner = shared.max(0)
    matched = best >= recipe.match_iou
    top = shared.max(1)
    for index in range(len(boxes)):
        # A face whose size lies between two priors still gets the prior that fits it best.
        if top.values[index] > recipe.best_prior_iou:
            matched[top.indices[index]] = True
            owner[top.indices[index]] = index
    for index, score in enumerate(scores):
        mine = matched & (owner == index)
        if not mine.any() or probabilities[mine, 1].max() >= recipe.detected_min:
            continue
        probabilities[mine, 1] = probabilities[mine, 1].clamp(min=score)
        probabilities[mine, 0] = probabilities[mine, 0].clamp(max=1 - score)
        codes[mine] = encode(boxes[index].expand(int(mine.sum()), 4), priors[mine])


def clear_empty(scene: Scene, probabilities: Tensor, priors: Tensor) -> None:
    """Set the target to background in cells that are known to have no face."""
    centres = (priors[:, :2] + priors[:, 2:4]) / 2
    cell = (centres * scene.cells).long().clamp(0, scene.cells - 1)
    empty = torch.from_numpy(scene.empty)[cell[:, 1], cell[:, 0]]
    probabilities[empty, 1] = 0
    probabilities[empty, 0] = 1
