"""The optimizer of pointwise convolutions."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_SCALE = 0.4
"""Twice what gives AdamW's steps (Liu et al.)."""
_STEPS = 5
_QUINTIC = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):
    """Momentum whose singular values are made one, for weights [O, I, 1, 1].

    Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with twice the scale by a matrix's
    longer side of Liu et al. 2025 (arXiv:2502.16982), so that AdamW's rates suit it too. Not
    torch.optim.Muon, which takes no convolutions, and whose bfloat16 makes a step of ours take
    twice its time on processors that only imitate it.
    """

    def __init__(self, weights: Iterable[nn.Parameter], rate: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the weights that have a gradient."""
        for group in self.param_groups:
            rate = group["lr"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].mul_(_MOMENTUM).add_(weight.grad)
                ahead = weight.grad.add(state["momentum"], alpha=_MOMENTUM)
                update = orthogonal(ahead.flatten(1))
                weight.mul_(1 - rate * group["weight_decay"])
                size = rate * _SCALE * max(update.shape) ** 0.5
                weight.sub_(update.view_as(weight), alpha=size)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix [M, N] with the same singular vectors, and its values between about 0.7 and 1.2.

    Values under a thousandth of the norm stay smaller. By Newton and Schulz's iteration with
    Jordan's coefficients; a zero matrix stays as it is.
    """
    a, b, c = _QUINTIC
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-12)
    for _ in range(_STEPS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
