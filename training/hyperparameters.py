"""Values of a recipe: their meaning, their limits, and how they are parsed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import Field, field, fields
from typing import TYPE_CHECKING, Any

from sfd.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Range = tuple[float, float]
"""The lower and the upper end of a random draw."""


def value(
    default: float | Range,
    about: str,
    low: float = 0,
    high: float = math.inf,
    *,
    above: float = -math.inf,
) -> Any:
    """A dataclass field with its meaning and limits: `low` to `high`, and greater than `above`."""
    limits = {"about": about, "low": low, "high": high, "above": above}
    return field(default=default, metadata=limits)


def chance(default: float, about: str) -> Any:
    """A value from 0 to 1."""
    return value(default, about, 0, 1)


def check(recipe: "DataclassInstance") -> None:
    """Raise UsageError for a value outside its limits."""
    for each in fields(recipe):
        _check(each, getattr(recipe, each.name))


def parse(recipe: "type[DataclassInstance]", settings: Sequence[str]) -> dict[str, Any]:
    """The values of NAME=VALUE texts by name; UsageError for an unknown name or a bad value."""
    known = {each.name: each for each in fields(recipe)}
    values: dict[str, Any] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: write NAME=VALUE, such as --set blur_chance=0.2")
        if name not in known:
            raise UsageError(f"--set {setting}: unknown name; `sfd train --help` lists all names")
        if name in values:
            raise UsageError(f"--set {name}: is given twice")
        values[name] = _parsed(known[name], text)
        _check(known[name], values[name])
    return values


def describe(recipe: "type[DataclassInstance]") -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of every value."""
    for each in fields(recipe):
        yield each.name, _text(each.default), each.metadata["about"]


def _parsed(each: "Field[Any]", text: str) -> Any:
    try:
        match each.default:
            case bool():
                return {"true": True, "false": False}[text.lower()]
            case int():
                return int(text)
            case (low, _):
                first, second = map(type(low), text.split(","))
                return first, second
            case _:
                return float(text)
    except (ValueError, KeyError):
        raise UsageError(f"--set {each.name}={text}: is not {_kind(each)}") from None


def _kind(each: "Field[Any]") -> str:
    match each.default:
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case (int(), _):
            return "two whole numbers LOW,HIGH"
        case tuple():
            return "two numbers LOW,HIGH"
        case _:
            return "a number"


def _check(each: "Field[Any]", value: Any) -> None:
    if isinstance(each.default, bool):
        return
    ends = value if isinstance(value, tuple) else (value,)
    low, high, above = (each.metadata[name] for name in ("low", "high", "above"))
    if not all(math.isfinite(end) and low <= end <= high and end > above for end in ends):
        raise UsageError(f"{each.name} must be {_limits(each)}, not {_text(value)}")
    if list(ends) != sorted(ends):
        raise UsageError(f"{each.name} must be LOW,HIGH in this order, not {_text(value)}")


def _limits(each: "Field[Any]") -> str:
    low, high, above = (each.metadata[name] for name in ("low", "high", "above"))
    least = f"above {above:g}" if above >= low else f"at least {low:g}"
    return least if high == math.inf else f"{least} and at most {high:g}"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
