"""Every number of a distillation. The defaults are those of the published weights' last run.

`sfd train` uses these defaults; `--set NAME=VALUE` changes any of them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any

from sfd.errors import UsageError


def _value(
    default: float | tuple[float, float],
    about: str,
    low: float = 0,
    high: float = math.inf,
    *,
    above: float = -math.inf,
) -> Any:
    """A field with its text and limits: from `low` to `high`, and greater than `above`.

    A pair is the lower and the upper end of a uniform random draw.
    """
    limits = {"about": about, "low": low, "high": high, "above": above}
    return field(default=default, metadata=limits)


def _chance(default: float, about: str) -> Any:
    return _value(default, about, 0, 1)


@dataclass(frozen=True)
class Recipe:
    """How to distil. Raises UsageError for a value outside its limits."""

    # The run. The last run of the published weights also froze BatchNorm, with seed 13.
    hours: float = _value(2.87, "hours to train", above=0)
    seed: int = _value(1, "seed of the batches, and of weights that start at random")
    save_minutes: float = _value(4.0, "minutes between two saved states")
    frozen: bool = _value(False, "keep BatchNorm's statistics as they are in --weights")
    # Batches.
    batch: int = _value(12, "scenes in a batch", 1)
    size: int = _value(320, "side of a scene, in pixels", 64)
    large_size: int = _value(640, "side of a large scene, in pixels", 64)
    large_share: float = _chance(0.2, "share of batches with large scenes")
    large_divisor: int = _value(4, "a batch of large scenes has batch / large_divisor of them", 1)
    echoes: int = _value(1, "old batches that are repeated after each new one, augmented anew")
    remembered: int = _value(48, "latest batches from which echoes are drawn (6 MB each)", 1)
    # Optimizers: Muon for pointwise convolutions, AdamW for the rest.
    rate: float = _value(4e-4, "highest learning rate", above=0)
    warmup: int = _value(50, "steps until the highest rate", 1)
    final_rate: float = _chance(0.02, "rate at the end of the cosine, as a share of the highest")
    weight_decay: float = _value(1e-4, "decoupled weight decay; 0 for vectors")
    clip_norm: float = _value(10.0, "greatest norm of the gradient", above=0)
    adam_beta1: float = _value(0.9, "decay of AdamW's mean of gradients", 0, 0.9999)
    adam_beta2: float = _value(0.999, "decay of AdamW's mean of squared gradients", 0, 0.999999)
    muon_momentum: float = _value(0.95, "Muon's momentum", 0, 0.9999)
    muon_scale: float = _value(0.4, "Muon's step is rate * scale * sqrt(longer side)", above=0)
    muon_iterations: int = _value(5, "Newton-Schulz iterations of Muon", 1)
    average: float = _chance(0.997, "decay of the moving average of the weights")
    average_warmup: int = _value(9, "that decay is at most n / (n + average_warmup) after n steps")
    momentum: float = _value(0.02, "momentum of BatchNorm's running statistics", 0, 1, above=0)
    # Loss.
    location_weight: float = _value(1.0, "weight of the location loss beside the confidence loss")
    giou_weight: float = _value(4.0, "weight of GIoU beside smooth L1 in the location loss")
    background_weight: float = _value(0.25, "weight of the background class in the confidence loss")
    smallest_weight: float = _value(2.5, "weight of the confidence loss on the smallest priors")
    second_weight: float = _value(
        1.5, "weight of the confidence loss on the second smallest priors"
    )
    tiny_weight: float = _value(
        3.0, "greatest location weight of faces below the smallest prior", 1
    )
    location_min: float = _chance(0.05, "target probability above which location is trained")
    # Targets: the teachers' predictions, corrected by labels and by a look at the enlarged scene.
    label_probability: float = _chance(0.9, "target probability of a labelled face")
    detected_min: float = _chance(0.6, "teacher probability from which a face counts as detected")
    match_iou: float = _chance(0.4, "IoU from which two boxes are the same face")
    best_prior_iou: float = _chance(0.2, "IoU above which a face always gets its best prior")
    vote_min: float = _chance(0.1, "probability above which priors take part in box voting")
    refine_min: float = _chance(0.3, "probability above which the enlarged look moves a box")
    nms_iou: float = _chance(0.3, "IoU of NMS before box voting")
    max_faces: int = _value(750, "most faces of a scene after NMS", 1)
    enlarged: float = _chance(0.5, "share of scenes that teachers also see enlarged twice")
    enlarged_min: float = _chance(0.7, "probability from which a face of the enlarged look counts")
    enlarged_side: float = _value(
        96.0, "longest side of such a face in the enlarged scene, in pixels"
    )
    enlarged_max_faces: int = _value(400, "most faces of an enlarged scene after NMS", 1)
    # Scenes: crops of images, alone or as a mosaic.
    mosaic_2x2: float = _chance(0.4, "share of scenes made of 2 x 2 crops")
    mosaic_3x3: float = _chance(0.3, "share of scenes made of 3 x 3 crops")
    crowd: int = _value(8, "an image is drawn as often as it has faces, up to this number", 1)
    scale_low: float = _value(0.8, "lowest scale of a crop; 1 fits the whole image", above=0)
    scale_high: float = _value(1.5, "highest scale of a crop; 1 keeps the image's pixels", above=0)
    scale_span: float = _value(
        1.2, "highest scale of small images; 1 fits the whole image", above=0
    )
    scale_power: float = _value(1.5, "above 1, small scales are drawn more often", above=0)
    face_crop_chance: float = _chance(0.6, "chance that a crop is drawn around a labelled face")
    face_crop_shift: float = _value(0.4, "greatest shift of that face from the middle, in crops")
    visible_min: float = _chance(0.4, "share of a face inside a crop from which it stays labelled")
    face_side_min: float = _value(3.0, "shortest side of a labelled face in a crop, in pixels")
    flip_chance: float = _chance(0.5, "chance of a mirrored crop")
    # Augmentations that the teachers see too.
    rotate_chance: float = _chance(0.3, "chance of a rotated scene")
    rotate_degrees: float = _value(25.0, "greatest angle of rotation", 0, 180)
    thumbnail_chance: float = _chance(0.4, "chance of a shrunk and enlarged scene")
    thumbnail_scale: tuple[float, float] = _value((0.4, 1.0), "scale of such a thumbnail", 0.05, 1)
    thumbnail_aspect: tuple[float, float] = _value(
        (0.7, 1.0), "additional scale of either side", 0.05, 1
    )
    thumbnail_jpeg_chance: float = _chance(0.5, "chance that the thumbnail is a JPEG")
    thumbnail_quality: tuple[float, float] = _value((60, 89), "its JPEG quality", 1, 100)
    blur_chance: float = _chance(0.1, "chance of Gaussian blur")
    blur_radius: tuple[float, float] = _value((0.4, 1.6), "radius of the blur, in pixels")
    light_chance: float = _chance(0.3, "chance of other light and colour, see below")
    occlusion_chance: float = _chance(0.15, "chance of patches over the scene")
    occlusion_patches: tuple[float, float] = _value((1, 4), "number of patches", 1, 64)
    occlusion_side: float = _value(
        1 / 6, "longest side of a patch, as a share of the scene", 0.1, 1
    )
    occlusion_plain: float = _chance(
        0.6, "share of patches of one colour; others are rotated parts"
    )
    # Augmentations that only the student sees, besides other light and colour, always.
    shrink_chance: float = _chance(0.25, "chance of a shrunk and enlarged scene")
    shrink_scale: tuple[float, float] = _value((0.5, 1.0), "scale of either side", 0.05, 1)
    noise_chance: float = _chance(0.25, "chance of Gaussian noise")
    noise_sigma: tuple[float, float] = _value(
        (1.0, 12.0), "standard deviation of the noise, of 255", 0, 255
    )
    jpeg_chance: float = _chance(0.3, "chance of JPEG compression")
    jpeg_quality: tuple[float, float] = _value((25, 89), "JPEG quality", 1, 100)
    # Other light and colour.
    brightness_chance: float = _chance(0.5, "chance of other contrast and brightness")
    brightness_factor: tuple[float, float] = _value((0.6, 1.4), "factor on all channels")
    brightness_offset: float = _value(30.0, "greatest offset of all channels, of 255", 0, 255)
    tint_chance: float = _chance(0.3, "chance of a factor for each channel")
    tint_factor: tuple[float, float] = _value((0.85, 1.15), "factor on one channel")
    saturation_chance: float = _chance(0.5, "chance of other saturation")
    gray_share: float = _chance(0.25, "share of these that become gray")
    saturation_factor: tuple[float, float] = _value(
        (0.5, 1.5), "factor on the saturation of the others"
    )
    gamma_chance: float = _chance(0.15, "chance of another gamma")
    gamma: tuple[float, float] = _value((0.6, 2.5), "gamma, drawn by its logarithm", 0.01)
    gamma_dim: tuple[float, float] = _value((0.4, 1.0), "factor on all channels after gamma")

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each, getattr(self, each.name))
        if self.mosaic_2x2 + self.mosaic_3x3 > 1:
            raise UsageError("mosaic_2x2 and mosaic_3x3 must have a sum of at most 1")
        if self.scale_low > self.scale_span:
            raise UsageError("scale_low must be at most scale_span")

    def rate_at(self, step: int, share: float) -> float:
        """The learning rate after `step` updates and a share of the hours.

        It rises linearly during the warm-up. Then it falls by half a cosine to `final_rate`.
        """
        warm = min(1.0, (step + 1) / self.warmup)
        cosine = (1 + math.cos(math.pi * min(share, 1))) / 2
        return self.rate * warm * (self.final_rate + (1 - self.final_rate) * cosine)


def parse(settings: Sequence[str]) -> dict[str, Any]:
    """The values of NAME=VALUE texts by name; UsageError for an unknown name or a bad value."""
    known = {each.name: each for each in fields(Recipe)}
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


def describe() -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of every value."""
    for each in fields(Recipe):
        yield each.name, _text(each.default), each.metadata["about"]
