"""A running verification: the values to compare, and every comparison so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from convert.outputs.kinds import Built
from convert.report import Comparison
from convert.verify.detections import Bounds, Verdict
from geometry.arrays import F32

RELATIVE_BOUND = 1e-4
"""How far a value may be off, relative to the largest magnitude of its blob."""

MOST_ROUNDING = 1e-3
"""How far the file's own answers may be apart, in the same relation, to count as rounding."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the references and the file answer to one picture."""

    picture: str
    expected: Mapping[str, F32]
    """The network's blobs by the references. OpenCV convolves by plain sums."""
    references: Mapping[str, str]
    """Which reference each of these blobs is from."""
    twin: Mapping[str, F32]
    """The same, OpenCV's with Winograd's transform: how sure OpenCV is. Or `expected` itself."""
    outputs: Mapping[str, F32]
    """What the file gives out."""
    blobs: Mapping[str, F32]
    """The network's blobs, from inside the file."""
    again: Mapping[str, F32]
    """The same by the file computed without optimizations: how sure it is. Or `blobs` itself."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Remarks on blobs, for the report."""
    rounding: Mapping[str, float] = field(default_factory=dict)
    """How far rounding to float32 may move some of these blobs."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A model and the comparisons made; the list grows."""

    built: Built
    deviates: str | None
    """Why OpenCV's DetectionOutput is not asked."""
    bounds: Bounds
    """For boxes, where the reference agrees with itself."""
    comparisons: list[Comparison] = field(default_factory=list)

    def values(
        self,
        picture: str,
        output: str,
        reference: str,
        expected: F32,
        found: F32,
        twin: F32 | None = None,
        again: F32 | None = None,
        remark: str = "",
        rounding: float = 0.0,
    ) -> None:
        """Compare arrays of one shape, value by value.

        `twin` is the reference's other answer, `again` the file's: what one network gives when its
        sums are taken in another order. If those differences together exceed the bound, float32
        can't hold the values to it, and the bound becomes their sum. An error in the graph is in
        both answers of the file alike, so it does not widen the bound. `rounding` is the least that
        the bound is: where a result is zero up to rounding, both sides may be sure of another zero.
        """
        if reference.startswith("OpenCV"):
            # OpenCV has no arrays of less than two axes: axes of one element may differ.
            expected = _like(found, expected)
            twin = None if twin is None else _like(found, twin)
        difference, bound, note = _difference(expected, found)
        theirs = 0.0 if twin is None else _difference(expected, twin)[0]
        ours = 0.0 if again is None else _difference(found, again)[0]
        if ours > MOST_ROUNDING / RELATIVE_BOUND * bound:
            # More than rounding: onnxruntime's optimizations change what the file computes.
            ours = 0.0
        if bound < theirs + ours < np.inf:
            bound = theirs + ours
            note = f"OpenCV's own answers differ by {theirs:.3g}, the file's by {ours:.3g}"
        if bound < rounding < np.inf:
            bound = rounding
            note = f"rounding may move it by {rounding:.3g}"
        note = "; ".join(text for text in (note, remark) if text)
        self._add(picture, output, reference, difference, bound, difference <= bound, note)

    def verdict(
        self, picture: str, output: str, reference: str, bounds: Bounds, verdict: Verdict
    ) -> None:
        """Note how boxes compare."""
        self._add(
            picture,
            output,
            reference,
            verdict.difference,
            bounds.score,
            verdict.passed,
            verdict.note,
        )

    def _add(
        self,
        picture: str,
        output: str,
        reference: str,
        difference: float,
        bound: float,
        passed: bool,
        note: str,
    ) -> None:
        self.comparisons.append(
            Comparison(picture, output, reference, difference, bound, passed, note)
        )


def _like(found: F32, array: F32) -> F32:
    """An array in the shape of another, if they differ in axes of one element only."""
    same = array.squeeze().shape == found.squeeze().shape
    return array.reshape(found.shape) if same else array


def _difference(expected: F32, found: F32) -> tuple[float, float, str]:
    """Largest absolute difference, the bound for it, and a note."""
    magnitude = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    bound = float(RELATIVE_BOUND * magnitude)
    if expected.shape != found.shape:
        shapes = f"shape {list(found.shape)} instead of {list(expected.shape)}"
        return float("inf"), bound, shapes
    a, b = expected.reshape(-1).astype(np.float64), found.reshape(-1).astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    differences = np.abs(np.subtract(a, b, out=np.zeros_like(a), where=~same))
    difference = float(differences.max(initial=0.0))
    return (float("inf") if np.isnan(difference) else difference), bound, ""
