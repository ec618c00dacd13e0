"""Values are described, parsed by their types, and refused outside their limits."""

import dataclasses

import pytest

from sfd.errors import UsageError
from training.hyperparameters import describe, parse
from training.recipe import Recipe


def test_every_value_is_described() -> None:
    described = list(describe(Recipe))
    assert [name for name, _, _ in described] == [f.name for f in dataclasses.fields(Recipe)]
    assert all(len(about) > 5 for _, _, about in described)


def test_the_described_defaults_parse_to_the_defaults() -> None:
    texts = [f"{name}={default}" for name, default, _ in describe(Recipe)]
    parsed = parse(Recipe, texts)
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
    assert parse(Recipe, [setting]) == {setting.partition("=")[0]: value}


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
        parse(Recipe, settings)
