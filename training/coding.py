"""Overlaps and codes of boxes in torch, as geometry.boxes and geometry.coding have them."""

from torch import Tensor, cat, maximum, minimum


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU [N, M] of `boxes` [N, 4] and `others` [M, 4]; boxes without area overlap nothing."""
    low = maximum(boxes[:, None, :2], others[None, :, :2])
    high = minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(each[:, 2:] - each[:, :2]).clamp(min=0).prod(-1) for each in (boxes, others)]
    return both / (areas[0][:, None] + areas[1][None] - both).clamp(min=1e-12)


def encode(boxes: Tensor, priors: Tensor) -> Tensor:
    """CENTER_SIZE codes [N, 4] of `boxes` [N, 4] for as many `priors` [N, 8] with variances."""
    sides = priors[:, 2:4] - priors[:, :2]
    shift = ((boxes[:, :2] + boxes[:, 2:]) - (priors[:, :2] + priors[:, 2:4])) / 2 / sides
    growth = ((boxes[:, 2:] - boxes[:, :2]) / sides).log()
    return cat([shift, growth], 1) / priors[:, 4:]
