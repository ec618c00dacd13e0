"""IoU and codes of boxes in torch, so that a loss on them can be differentiated."""

from torch import Tensor, cat, maximum, minimum


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU [N, M] of `boxes` [N, 4] and `others` [M, 4]; 0 for boxes without area."""
    low = maximum(boxes[:, None, :2], others[None, :, :2])
    high = minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(each[:, 2:] - each[:, :2]).clamp(min=0).prod(-1) for each in (boxes, others)]
    return both / (areas[0][:, None] + areas[1][None] - both).clamp(min=1e-12)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalized IoU [N], from -1 to 1, of `boxes` [N, 4] and as many `others`.

    Unlike IoU, it also tells how far apart disjoint boxes are. It is algorithm 1 of Rezatofighi et
    al. 2019 (arXiv:1902.09630). Each box must have x1 <= x2 and y1 <= y2.
    """
    low, high = maximum(boxes[:, :2], others[:, :2]), minimum(boxes[:, 2:], others[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(-1) for each in (boxes, others)]
    either = areas[0] + areas[1] - both
    around = (maximum(boxes[:, 2:], others[:, 2:]) - minimum(boxes[:, :2], others[:, :2])).prod(-1)
    return both / either.clamp(min=1e-12) - (around - either) / around.clamp(min=1e-12)


def encode(boxes: Tensor, priors: Tensor) -> Tensor:
    """CENTER_SIZE codes [N, 4] of `boxes` [N, 4] for as many `priors` [N, 8] with variances."""
    sides = priors[:, 2:4] - priors[:, :2]
    shift = ((boxes[:, :2] + boxes[:, 2:]) - (priors[:, :2] + priors[:, 2:4])) / 2 / sides
    growth = ((boxes[:, 2:] - boxes[:, :2]) / sides).log()
    return cat([shift, growth], 1) / priors[:, 4:]


def decode(codes: Tensor, priors: Tensor) -> Tensor:
    """Boxes [N, 4] of CENTER_SIZE `codes` [N, 4] for as many `priors` [N, 8] with variances."""
    sides = priors[:, 2:4] - priors[:, :2]
    scaled = codes * priors[:, 4:]
    centres = scaled[:, :2] * sides + (priors[:, :2] + priors[:, 2:4]) / 2
    # The limit of e^5 times the prior keeps the boxes of untrained codes finite.
    half = scaled[:, 2:].clamp(max=5).exp() * sides / 2
    return cat([centres - half, centres + half], 1)
