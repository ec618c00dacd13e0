"""What it costs a student to differ from what its teachers see."""

import torch
from torch import Tensor
from torch.nn import functional

from training.network.boxes import decode, generalized_overlap

_UNSURE = 0.05
"""The taught probability of a face from which on its place is taught: as the teacher's box has it,
from `targets.agree`'s bound on at one place for all its priors, from `targets.refine`'s more
exactly."""
_OVERLAP_WEIGHT = 4.0
"""Of GIoU's loss, beside smooth L1."""
_CERTAINTY_WEIGHTS = 2.5, 1.5
"""Of the confidence loss on the smallest priors and on the next: a crowd's faces are theirs, and
outnumber those of portraits where detectors are compared, but not in photographs to train on."""
_TINY = 3.0
"""Most weight of the place of a face that is smaller than the smallest prior."""


def imitation_loss(
    codes: Tensor, logits: Tensor, taught_codes: Tensor, taught: Tensor, priors: Tensor
) -> tuple[Tensor, Tensor]:
    """Confidence and location loss, each per face-like prior of the teacher.

    Codes are [N, P, 4], logits and `taught` probabilities [N, P, 2], priors [P, 8] with variances.

    Confidence: logistic loss on all priors and both classes, each weighted by |p - q|, so
    that the many priors on which both agree do not drown the few on which they do not; more on
    small priors.

    Location: smooth L1 of the codes, and the loss of the boxes' GIoU, because an error of codes
    that is nothing to a large face misses one that is smaller than its prior. On all priors that
    may show a face, weighted by the root of its probability: small faces come late in the ranking,
    with teachers that are not sure, and count only if they lie well. The smaller a face is than
    the smallest prior, the more its place weighs.
    """
    count = taught[..., 1].sum().clamp(min=1)
    weight = (logits.detach().sigmoid() - taught).abs()
    each = functional.binary_cross_entropy_with_logits(logits, taught, reduction="none") * weight
    level = _levels(priors)
    smallest, next_smallest = _CERTAINTY_WEIGHTS
    emphasis = torch.where(level == 0, smallest, torch.where(level == 1, next_smallest, 1.0))
    each = each * emphasis[:, None]
    confidence = (each[..., 1].sum() + 0.25 * each[..., 0].sum()) / count
    places = taught[..., 1] > _UNSURE
    share = taught[..., 1][places].sqrt()
    found, wanted = codes[places], taught_codes[places]
    own = priors.expand(*places.shape, 8)[places]
    # The mean logarithm of the face's sides to the prior's.
    growth = (wanted[:, 2:] * own[:, 6:]).mean(-1)
    tiny = level.expand(places.shape)[places] == 0
    share = share * torch.where(tiny, (-growth).exp().clamp(1, _TINY), 1.0)
    away = functional.smooth_l1_loss(found, wanted, reduction="none").sum(-1)
    apart = 1 - generalized_overlap(decode(found, own), decode(wanted, own))
    return confidence, ((away + _OVERLAP_WEIGHT * apart) * share).sum() / count


def _levels(priors: Tensor) -> Tensor:
    """How often the side of the smallest of `priors` [P, 8] has to be doubled for each [P]."""
    sides = priors[:, 2] - priors[:, 0]
    return (sides / sides.min()).log2().round()
