"""New batches, and echoes of earlier ones."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from training.data.dataset import LabelledImage  # noqa: E402
from training.distillation.batches import Batch, batches  # noqa: E402
from training.recipe import Recipe  # noqa: E402

if TYPE_CHECKING:
    from training.network.network import CaffeNetwork


def made_batches(
    network: "Callable[[int], CaffeNetwork]",
    portraits: list[LabelledImage],
    count: int,
    *,
    echoes: int,
    start: int = 0,
) -> list[Batch]:
    recipe = Recipe(batch=2, size=128, large_share=0, enlarged=0, echoes=echoes, remembered=2)
    with ThreadPoolExecutor(1) as pool:
        return list(islice(batches([network(1)], portraits, recipe, start, pool), count))


def same(one: Batch, other: Batch) -> tuple[bool, bool]:
    """Whether their data are equal, and whether their targets are equal."""
    return torch.equal(one.data, other.data), torch.equal(one.probabilities, other.probabilities)


def test_without_echoes_each_batch_is_new(
    network: "Callable[[int], CaffeNetwork]", portraits: list[LabelledImage]
) -> None:
    made = made_batches(network, portraits, 4, echoes=0)
    for index, each in enumerate(made):
        assert all(same(each, other) == (False, False) for other in made[:index])


def test_an_echo_has_the_same_targets_and_other_augmentations(
    network: "Callable[[int], CaffeNetwork]", portraits: list[LabelledImage]
) -> None:
    plain = made_batches(network, portraits, 4, echoes=0)
    first, second, echo, third, *later = made_batches(network, portraits, 7, echoes=1)
    for made, expected in ((first, plain[0]), (second, plain[1]), (third, plain[2])):
        assert same(made, expected) == (True, True)
    assert same(echo, first) == (False, True)
    assert torch.equal(echo.codes, first.codes)
    assert same(later[1], plain[3]) == (True, True)
    # Only the last two batches are remembered.
    assert (False, True) in [same(later[2], each) for each in (second, third)]


def test_a_resumed_run_continues_with_new_scenes(
    network: "Callable[[int], CaffeNetwork]", portraits: list[LabelledImage]
) -> None:
    plain = made_batches(network, portraits, 3, echoes=0)
    assert same(made_batches(network, portraits, 1, echoes=0, start=2)[0], plain[2]) == (True, True)
