"""How far values may differ, and when the bound becomes wider."""

from typing import Any

import numpy as np
import pytest

from convert.report import Comparison
from convert.verify.detections import Bounds
from convert.verify.trial import Trial

EXPECTED = np.asarray([0.5, 0.1, 0.0], np.float32)


def compared(found: float, twin: float, again: float) -> Comparison:
    """The first value as the file has it, as OpenCV has it again, and as the file has it again."""
    built: Any = None
    trial = Trial(built, None, Bounds((0.1, 0.1)))
    ours, theirs, plain = (
        EXPECTED + np.asarray([away, 0, 0], np.float32) for away in (found, twin, again)
    )
    trial.values("noise", "prob", "OpenCV", EXPECTED, ours, theirs, plain)
    return trial.comparisons[0]


@pytest.mark.parametrize(
    ("found", "twin", "again", "passed"),
    [
        (4e-5, 0.0, 4e-5, True),
        # Neither side rounds: the file is wrong, also where it is equally wrong both times.
        (6e-5, 0.0, 6e-5, False),
        (6e-3, 1e-5, 6e-3, False),
        # OpenCV's answers differ by 3e-5 and the file's by 4e-5.
        (6e-5, 3e-5, 2e-5, True),
        (8e-5, 3e-5, 4e-5, False),
        # Only the optimized file is wrong, by more than rounding: that one is served.
        (0.3, 0.0, 0.0, False),
        (6e-4, 0.0, 0.0, False),
        # An infinite difference widens nothing.
        (6e-5, np.inf, 6e-5, False),
    ],
)
def test_the_bound_becomes_what_both_sides_differ_from_themselves(
    found: float, twin: float, again: float, passed: bool
) -> None:
    assert compared(found, twin, again).passed == passed


@pytest.mark.parametrize(
    ("reference", "expected", "found", "passed"),
    [
        ("OpenCV", (2, 3), (3, 2), False),
        ("OpenCV", (6, 1), (6,), True),
        ("NumPy reference", (2, 3), (3, 2), False),
        ("NumPy reference", (6, 1), (6,), False),
    ],
)
def test_another_shape_of_as_many_values_fails(
    reference: str, expected: tuple[int, ...], found: tuple[int, ...], passed: bool
) -> None:
    built: Any = None
    trial = Trial(built, None, Bounds((0.1, 0.1)))
    values = np.ones(6, np.float32)
    trial.values("noise", "prob", reference, values.reshape(expected), values.reshape(found))
    (comparison,) = trial.comparisons
    shapes = f"shape {list(found)} instead of {list(expected)}"
    assert (comparison.passed, comparison.note) == (passed, "" if passed else shapes)


def test_an_infinite_rounding_allows_nothing() -> None:
    built: Any = None
    trial = Trial(built, None, Bounds((0.1, 0.1)))
    one, other = np.zeros(3, np.float32), np.ones(3, np.float32)
    trial.values("constant", "prob", "OpenCV", one, other, rounding=np.inf)
    assert not trial.comparisons[-1].passed


@pytest.mark.parametrize(
    ("expected", "found", "rounding", "passed"),
    [
        # Zero but for rounding: no relation to the largest value holds.
        (0.0, 2e-6, 3e-6, True),
        (0.0, 4e-6, 3e-6, False),
        (0.0, 1e-9, 0.0, False),
        # Less than the bound: it does not become narrower.
        (1.0, 1.00005, 3e-6, True),
        (1.0, 1.0002, 3e-6, False),
    ],
)
def test_the_bound_is_at_least_what_rounding_may_make(
    expected: float, found: float, rounding: float, passed: bool
) -> None:
    built: Any = None
    trial = Trial(built, None, Bounds((0.1, 0.1)))
    one, other = (np.full(3, value, np.float32) for value in (expected, found))
    trial.values("noise", "prob", "OpenCV", one, other, rounding=rounding)
    (comparison,) = trial.comparisons
    assert comparison.passed == passed
    widened = comparison.note == f"rounding may move it by {rounding:.3g}"
    assert widened == (expected == 0 and rounding > 0)


def test_the_report_says_why_a_bound_is_wider() -> None:
    assert not compared(1e-5, 0, 1e-5).note
    wide = compared(6e-5, 3e-5, 2e-5)
    assert wide.note == "OpenCV's own answers differ by 3e-05, the file's by 4e-05"
    assert wide.bound == pytest.approx(7e-5, rel=1e-2)
