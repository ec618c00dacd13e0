"""One verification under way: what is judged, and every comparison so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from convert.outputs.kinds import Built
from convert.report import Comparison
from convert.verify.detections import Bounds, Verdict
from convert.verify.reference import Reference
from geometry.arrays import F32

RELATIVE_BOUND = 1e-4
"""How far a value may be off, in relation to the largest magnitude of its blob."""

MOST_ROUNDING = 1e-3
"""How far the file's own answers may be apart, in the same relation, to count as rounding."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One picture, as everybody sees it."""

    name: str
    expected: Mapping[str, F32]
    """The network's blobs by OpenCV, convolving by plain sums."""
    twin: Mapping[str, F32]
    """The same by OpenCV with Winograd's transform: how sure OpenCV is. Or `expected` itself."""
    outputs: Mapping[str, F32]
    """What the file gives out."""
    blobs: Mapping[str, F32]
    """The network's blobs, from inside the file."""
    again: Mapping[str, F32]
    """The same by the file computed without optimizations: how sure it is. Or `blobs` itself."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A model, its judge, and the comparisons made; the list grows."""

    built: Built
    reference: Reference
    deviates: str | None
    """Why OpenCV's DetectionOutput is not asked."""
    bounds: Bounds
    """For boxes, where OpenCV agrees with itself."""
    comparisons: list[Comparison] = field(default_factory=list)

    def values(
        self,
        picture: str,
        output: str,
        expected: F32,
        found: F32,
        twin: F32 | None = None,
        judge: str | None = None,
        again: F32 | None = None,
    ) -> None:
        """Compare arrays of one size, value by value.

        `twin` is the judge's other answer, `again` the file's: what one network gives when its sums
        come in another order. Where those differences together pass the bound, float32 can't hold
        the values to it, and nobody is convicted for less: an error in the graph is in both
        answers of the file alike, and does not widen anything.
        """
        difference, bound, note = _difference(expected, found)
        judges = 0.0 if twin is None else _difference(expected, twin)[0]
        files = 0.0 if again is None else _difference(found, again)[0]
        if files > MOST_ROUNDING / RELATIVE_BOUND * bound:
            # More than rounding: then onnxruntime makes something else of the file.
            files = 0.0
        if bound < judges + files < np.inf:
            bound = judges + files
            note = f"OpenCV's own answers differ by {judges:.3g}, the file's by {files:.3g}"
        judge = judge or self.reference.name
        passed = difference <= bound
        self.comparisons.append(Comparison(picture, output, judge, difference, bound, passed, note))

    def verdict(
        self, picture: str, output: str, judge: str, bounds: Bounds, verdict: Verdict
    ) -> None:
        """Note how boxes compare."""
        difference, passed, note = verdict.difference, verdict.passed, verdict.note
        self.comparisons.append(
            Comparison(picture, output, judge, difference, bounds.score, passed, note)
        )


def _difference(expected: F32, found: F32) -> tuple[float, float, str]:
    """Largest absolute difference, the bound for it, and a note."""
    magnitude = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    bound = float(RELATIVE_BOUND * magnitude)
    if expected.size != found.size:
        shapes = f"shape {list(found.shape)} instead of {list(expected.shape)}"
        return float("inf"), bound, shapes
    a, b = expected.reshape(-1).astype(np.float64), found.reshape(-1).astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    differences = np.abs(np.subtract(a, b, out=np.zeros_like(a), where=~same))
    difference = float(differences.max(initial=0.0))
    return (float("inf") if np.isnan(difference) else difference), bound, ""
