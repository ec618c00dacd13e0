"""Muon, the optimizer of pointwise convolutions."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.recipe import Recipe

_QUINTIC = 3.4445, -4.7750, 2.0315
"""Jordan's coefficients of the Newton-Schulz iteration."""


class Muon(torch.optim.Optimizer):
    """Momentum with all singular values near one, for weights [O, I, 1, 1].

    Sources: Jordan et al. 2024 (kellerjordan.github.io/posts/muon), and Liu et al. 2025
    (arXiv:2502.16982), whose scale by a matrix's longer side lets Muon use AdamW's rates. The
    recipe doubles that scale. torch.optim.Muon does not accept convolutions, and its bfloat16
    arithmetic doubles the time of a step on processors that emulate bfloat16.
    """

    def __init__(self, weights: Iterable[nn.Parameter], recipe: Recipe) -> None:
        self.recipe = recipe
        defaults = {"lr": recipe.rate, "weight_decay": recipe.weight_decay}
        super().__init__(weights, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the weights that have a gradient."""
        momentum = self.recipe.muon_momentum
        for group in self.param_groups:
            rate = group["lr"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].mul_(momentum).add_(weight.grad)
                ahead = weight.grad.add(state["momentum"], alpha=momentum)
                update = orthogonalize(ahead.flatten(1), self.recipe.muon_iterations)
                weight.mul_(1 - rate * group["weight_decay"])
                size = rate * self.recipe.muon_scale * max(update.shape) ** 0.5
                weight.sub_(update.view_as(weight), alpha=size)


def orthogonalize(matrix: Tensor, iterations: int) -> Tensor:
    """A matrix [M, N] with the same singular vectors, and singular values from about 0.7 to 1.2.

    That is after five iterations. Singular values below a thousandth of the norm stay smaller, and
    a zero matrix stays zero. Newton-Schulz iteration with Jordan's coefficients.
    """
    a, b, c = _QUINTIC
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-12)
    for _ in range(iterations):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
