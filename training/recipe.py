"""What can be chosen about a distillation, and its learning rate."""

import math
from dataclasses import dataclass


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
    location_weight: float = 1.0
    enlarged_share: float = 0.0
    """Of the scenes that the teachers also see enlarged twice, for faces smaller than priors."""
    echoes: int = 0
    """Steps after each new batch that repeat older ones, spoilt anew."""
    remembered: int = 48
    """Batches that echoes are taken from, the last ones: 6 MB each at the sizes above."""
    momentum: float = 0.02
    """Of BatchNorm's running statistics."""
    frozen: bool = False
    """Whether BatchNorm keeps the statistics that it came with."""
    seed: int = 1
    save_minutes: float = 4.0

    def rate_at(self, step: int, share: float) -> float:
        """The rate after `step` updates and a share of the hours: a warm-up, then half a cosine."""
        warm = min(1.0, (step + 1) / self.warmup)
        return self.rate * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(share, 1))) / 2)
