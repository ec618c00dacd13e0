"""New batches, and echoes of those that the teachers have judged before."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from training.data.dataset import Photograph  # noqa: E402
from training.distillation.batches import Lesson, lessons  # noqa: E402
from training.recipe import Recipe  # noqa: E402

if TYPE_CHECKING:
    from training.network.network import CaffeNetwork


def some(
    network: "Callable[[int], CaffeNetwork]",
    portraits: list[Photograph],
    count: int,
    *,
    echoes: int,
    start: int = 0,
) -> list[Lesson]:
    recipe = Recipe(hours=1, batch=2, size=128, large_share=0, echoes=echoes, remembered=2)
    with ThreadPoolExecutor(1) as pool:
        return list(islice(lessons([network(1)], portraits, recipe, start, pool), count))


def same(one: Lesson, other: Lesson) -> tuple[bool, bool]:
    """Whether they show the same, and whether they teach the same."""
    return torch.equal(one.data, other.data), torch.equal(one.probabilities, other.probabilities)


def test_without_echoes_each_lesson_is_new(
    network: "Callable[[int], CaffeNetwork]", portraits: list[Photograph]
) -> None:
    made = some(network, portraits, 4, echoes=0)
    for index, each in enumerate(made):
        assert all(same(each, other) == (False, False) for other in made[:index])


def test_an_echo_teaches_what_the_teachers_saw_in_pictures_spoilt_in_another_way(
    network: "Callable[[int], CaffeNetwork]", portraits: list[Photograph]
) -> None:
    plain = some(network, portraits, 4, echoes=0)
    first, second, echo, third, *later = some(network, portraits, 7, echoes=1)
    for made, expected in ((first, plain[0]), (second, plain[1]), (third, plain[2])):
        assert same(made, expected) == (True, True)
    assert same(echo, first) == (False, True)
    assert torch.equal(echo.codes, first.codes)
    assert same(later[1], plain[3]) == (True, True)
    # Of the two last batches only.
    assert (False, True) in [same(later[2], each) for each in (second, third)]


def test_a_resumed_run_goes_on_with_other_scenes(
    network: "Callable[[int], CaffeNetwork]", portraits: list[Photograph]
) -> None:
    plain = some(network, portraits, 3, echoes=0)
    assert same(some(network, portraits, 1, echoes=0, start=2)[0], plain[2]) == (True, True)
