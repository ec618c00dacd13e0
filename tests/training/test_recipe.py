"""The recipe has the published values, and refuses impossible ones."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from sfd.errors import UsageError
from training.recipe import Recipe

HISTORY = Path(__file__).parents[2] / "model_store/sfd-640-mobilenetv2-mod2/HISTORY.md"


def test_the_defaults_are_those_of_the_published_weights() -> None:
    """The last command of the history is the last run of the published weights."""
    published = HISTORY.read_text("utf-8").split("sfd train deploy.prototxt")[-1]
    words = published.split("```")[0].split()
    options = dict(itertools.pairwise(words))
    made = Recipe()
    for name in ("hours", "batch", "rate", "enlarged", "echoes"):
        assert getattr(made, name) == float(options[f"--{name}"]), name


def test_the_rate_warms_up_and_falls_by_half_a_cosine() -> None:
    recipe = Recipe(rate=1.0, warmup=10)
    steps = [(0, 0), (4, 0), (99, 0), (99, 0.5), (99, 1), (99, 1.1)]
    rates = [recipe.rate_at(step, share) for step, share in steps]
    assert rates == pytest.approx([0.1, 0.5, 1, 0.51, 0.02, 0.02])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"mosaic_2x2": 0.7, "mosaic_3x3": 0.7}, "a sum of at most 1"),
        ({"scale_low": 2.0}, "scale_low must be at most scale_span"),
        ({"hours": 0}, "hours must be above 0"),
    ],
)
def test_a_bad_recipe_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Recipe(**values)
