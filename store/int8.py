"""What `build.json` says about `model.int8.onnx`: how it was made, and what it costs.

The package `quantization` measures it. The service reads it without that package.
"""

from pydantic.dataclasses import dataclass

from store.fields import STRICT, Fraction, Sha256


@dataclass(frozen=True, config=STRICT)
class Calibration:
    """The images from which the value ranges of an int8 file were taken."""

    images: int
    sha256: Sha256
    """Hash of the sorted hashes of their files."""
    method: str


@dataclass(frozen=True, config=STRICT)
class Agreement:
    """How well detections agree with those of the float32 file, at the model's default score."""

    images: int
    faces: int
    """Found by the float32 file."""
    matched: Fraction
    """The share of them that was found too, with IoU 0.5 or more."""
    extra: int
    """Faces that the float32 file does not find."""
    iou_median: Fraction
    """Of the matched faces, as the next two."""
    iou_p5: Fraction
    """The fifth percentile."""
    score_difference: Fraction
    """The largest."""


@dataclass(frozen=True, config=STRICT)
class Speed:
    """Milliseconds of an inference of one image, on onnxruntime's CPU provider."""

    float32_ms: float
    int8_ms: float
    ratio: float
    """How many times faster int8 is."""
    threads: int
    processor: str


@dataclass(frozen=True, config=STRICT)
class Int8:
    """What `build.json` says about `model.int8.onnx`."""

    sha256: Sha256
    """Hash of `model.int8.onnx`."""
    source: Sha256
    """Hash of the `model.onnx` that it was made from."""
    calibration: Calibration
    agreement: Agreement
    """On images that were held back from the calibration."""
    speed: Speed
