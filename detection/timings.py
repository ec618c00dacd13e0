"""How long an image spent in each stage."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds in each stage."""

    decode: float
    """From the file's bytes to upright RGB pixels."""
    preprocess: float
    """The letterbox."""
    queue: float
    """Waiting for a decoding thread, for a batch to form, and for a worker."""
    inference: float
    """The model, on the whole batch."""
    postprocess: float
    """Thresholds, NMS, and boxes back to the image's pixels."""
    total: float
    """From the whole upload in memory to the answer."""

    def milliseconds(self) -> dict[str, float]:
        """By stage, for the JSON answer."""
        return {stage: round(seconds * 1000, 3) for stage, seconds in asdict(self).items()}

    def server_timing(self) -> str:
        """The value of a Server-Timing header (W3C Server Timing, durations in milliseconds)."""
        return ", ".join(f"{stage};dur={ms}" for stage, ms in self.milliseconds().items())


STAGES = tuple(field.name for field in fields(Timings))


def slowest(timings: Sequence[Timings], total: float) -> Timings:
    """The longest time of each stage among images handled side by side, in `total` seconds.

    Sums would exceed the total, since the images' stages overlap.
    """
    stages = {stage: max((getattr(t, stage) for t in timings), default=0.0) for stage in STAGES}
    return Timings(**(stages | {"total": total}))
