"""The report of a conversion and its verification, as data that becomes JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

NOT_ASKED = "verification was switched off"
"""The reason of a file that is unverified because nobody wanted it verified."""


class Status(StrEnum):
    """Whether a conversion has been verified."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One output for one input, compared with its reference."""

    input: str
    """The test image: noise, constant, gradient, impulse or scene; or a batch of them."""
    output: str
    """The blob or output."""
    reference: str
    """The reference that it was compared with."""
    difference: float
    """The largest difference found in values or scores."""
    bound: float
    """The largest difference allowed."""
    passed: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """All comparisons of a conversion, and the result."""

    status: Status
    reason: str = ""
    """Why it is unverified, or what failed."""
    comparisons: tuple[Comparison, ...] = ()
    references: tuple[str, ...] = ()
    """The references used: OpenCV, the NumPy reference, or both."""
    input_size: str = ""
    """Height and width of the verified input, if smaller than the file's; the nodes are equal."""

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}" if self.reason else str(self.status)


@dataclass(frozen=True, slots=True)
class Report:
    """One conversion.

    It holds no paths, so equal conversions give equal reports, except for times.
    """

    name: str
    kind: str
    input: Mapping[str, object]
    """Name and shape of the first input."""
    inputs: Mapping[str, list[int | str]]
    """The shape of every input by its name."""
    outputs: Mapping[str, list[int | str]]
    layers: int
    nodes: int
    wide: int
    """The number of values that `--partition` computes, or would compute, in parts."""
    parameters: int
    """The number of weights of all layers, including BatchNorm's statistics."""
    sources: Mapping[str, str]
    """SHA-256 of the prototxt and the weights."""
    onnx_sha256: str
    metadata: Mapping[str, str]
    versions: Mapping[str, str]
    warnings: tuple[str, ...]
    verification: Verification
    seconds: Mapping[str, float] = field(default_factory=dict)

    def advice(self, file: str) -> list[str]:
        """The warnings, and why `file` is unverified unless nobody wanted it verified."""
        verification = self.verification
        if verification.status is not Status.UNVERIFIED or verification.reason == NOT_ASKED:
            return list(self.warnings)
        return [*self.warnings, f"{file} is {verification}"]

    def to_json(self) -> str:
        """The report as indented JSON; infinity and NaN become null."""
        return json.dumps(_finite(asdict(self)), indent=2, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
