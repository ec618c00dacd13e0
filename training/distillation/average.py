"""The moving average of a network's weights."""

import copy

import torch

from training.network.network import CaffeNetwork
from training.recipe import Recipe


class MovingAverage:
    """An exponential moving average of a network's weights and BatchNorm statistics."""

    def __init__(self, network: CaffeNetwork, recipe: Recipe) -> None:
        self.network = copy.deepcopy(network).eval()
        self.recipe = recipe
        self.updates = 0

    @torch.no_grad()
    def update(self, network: CaffeNetwork) -> None:
        """Move towards the network. The first steps move further."""
        self.updates += 1
        warm = self.updates / (self.updates + self.recipe.average_warmup)
        keep = min(self.recipe.average, warm)
        for mine, theirs in zip(
            self.network.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - keep)
