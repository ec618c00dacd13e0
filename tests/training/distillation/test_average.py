"""The moving average of a network's weights."""

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from training.distillation.average import MovingAverage  # noqa: E402
from training.network.network import CaffeNetwork  # noqa: E402
from training.recipe import Recipe  # noqa: E402


def test_the_average_moves_towards_the_network_in_ever_smaller_steps(
    network: Callable[[int], CaffeNetwork],
) -> None:
    first, second = network(1).state_dict(), network(2)
    average = MovingAverage(network(1), Recipe(average=0.2))
    # It keeps 1/10 of what it was, then 2/11, then never more than 0.2.
    remains = 1.0
    for keep in (1 / 10, 2 / 11, 0.2, 0.2):
        average.update(second)
        remains *= keep
        for name, value in second.state_dict().items():
            if value.is_floating_point():
                expected = remains * first[name] + (1 - remains) * value
                found = average.network.state_dict()[name]
                assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6), name
