"""The recipe has the published values; others are checked and parsed."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from sfd.errors import UsageError
from training import recipe as recipes
from training.recipe import Recipe

CARD = Path(__file__).parents[2] / "model_store/sfd-640-mobilenetv2-mod2/README.md"


def test_the_defaults_are_those_of_the_published_weights() -> None:
    """The last command of the model card is the one that made the published weights."""
    published = CARD.read_text("utf-8").split("sfd train deploy.prototxt")[-1]
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


def test_every_value_has_a_text() -> None:
    described = list(recipes.describe())
    assert [name for name, _, _ in described] == [f.name for f in dataclasses.fields(Recipe)]
    assert all(len(about) > 5 for _, _, about in described)


def test_the_described_defaults_parse_to_the_defaults() -> None:
    texts = [f"{name}={default}" for name, default, _ in recipes.describe()]
    parsed = recipes.parse(texts)
    for name, value in dataclasses.asdict(Recipe()).items():
        assert parsed[name] == (pytest.approx(value, rel=1e-5)), name
        assert type(parsed[name]) is type(value), name


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("rate=1e-3", 1e-3),
        ("batch=4", 4),
        ("frozen=True", True),
        ("blur_radius=0.5,2", (0.5, 2.0)),
        ("jpeg_quality=30,80", (30, 80)),
    ],
)
def test_a_setting_is_parsed_by_the_type_of_its_value(setting: str, value: object) -> None:
    assert recipes.parse([setting]) == {setting.partition("=")[0]: value}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["batch=4.5"], "batch=4.5: is not a whole number"),
        (["frozen=1"], "frozen=1: is not true or false"),
        (["rate=fast"], "rate=fast: is not a number"),
        (["blur_radius=1"], "blur_radius=1: is not two numbers LOW,HIGH"),
        (["jpeg_quality=30.5,80"], "is not two whole numbers LOW,HIGH"),
        (["blur_radius=2,1"], "blur_radius must be LOW,HIGH in this order, not 2,1"),
        (["gamma=nan,1"], "gamma must be at least 0.01, not nan,1"),
        (["rate=0"], "rate must be above 0, not 0"),
        (["momentum=0"], "momentum must be above 0 and at most 1, not 0"),
        (["speed=1"], "speed=1: unknown name"),
        (["rate"], "write NAME=VALUE"),
        (["rate=1", "rate=2"], "rate: is given twice"),
    ],
)
def test_a_bad_setting_is_refused(settings: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        recipes.parse(settings)


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
