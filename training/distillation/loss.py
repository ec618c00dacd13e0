"""The distillation loss: how far a student's predictions are from its targets."""

import torch
from torch import Tensor
from torch.nn import functional

from training.network.boxes import decode, giou
from training.recipe import Recipe


def distillation_loss(
    codes: Tensor,
    logits: Tensor,
    target_codes: Tensor,
    targets: Tensor,
    priors: Tensor,
    recipe: Recipe,
) -> tuple[Tensor, Tensor]:
    """Confidence and location loss, each divided by the sum of the target probabilities of a face.

    Codes are [N, P, 4], logits and `targets` (probabilities) [N, P, 2], priors [P, 8] with
    variances.

    Confidence: binary cross-entropy on all priors and both classes, weighted by |p - q|. Without
    this weight, the many priors on which both agree would outweigh the few on which they differ.
    Small priors weigh more: they find the faces of crowds, which outnumber those of portraits where
    detectors are compared, but not in images to train on.

    Location: smooth L1 of the codes plus the loss of the boxes' GIoU, on all priors that may see a
    face. A large face tolerates an error of its codes that a face smaller than its prior does not.
    The weight is the root of the target probability: teachers are less sure of small faces, which
    count only if their boxes are accurate. Faces smaller than the smallest prior weigh more.
    """
    count = targets[..., 1].sum().clamp(min=1)
    weight = (logits.detach().sigmoid() - targets).abs()
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weight
    level = _levels(priors)
    emphasis = torch.where(
        level == 0, recipe.smallest_weight, torch.where(level == 1, recipe.second_weight, 1.0)
    )
    each = each * emphasis[:, None]
    confidence = (each[..., 1].sum() + recipe.background_weight * each[..., 0].sum()) / count
    faces = targets[..., 1] > recipe.location_min
    share = targets[..., 1][faces].sqrt()
    found, wanted = codes[faces], target_codes[faces]
    own = priors.expand(*faces.shape, 8)[faces]
    # The mean logarithm of the ratios of the face's sides to the prior's.
    growth = (wanted[:, 2:] * own[:, 6:]).mean(-1)
    tiny = level.expand(faces.shape)[faces] == 0
    share = share * torch.where(tiny, (-growth).exp().clamp(1, recipe.tiny_weight), 1.0)
    distance = functional.smooth_l1_loss(found, wanted, reduction="none").sum(-1)
    apart = 1 - giou(decode(found, own), decode(wanted, own))
    return confidence, ((distance + recipe.giou_weight * apart) * share).sum() / count


def _levels(priors: Tensor) -> Tensor:
    """How often the side of the smallest of `priors` [P, 8] has to be doubled for each [P]."""
    sides = priors[:, 2] - priors[:, 0]
    return (sides / sides.min()).log2().round()
