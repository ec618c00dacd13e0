"""Every number of a distillation. The defaults are those of the published weights' last run.

`sfd train` uses these defaults, and `--set NAME=VALUE` changes any of them.
"""

import math
from dataclasses import dataclass

from sfd.errors import UsageError
from training.hyperparameters import Range, chance, check, value


@dataclass(frozen=True)
class Recipe:
    """How to distil. Raises UsageError for a value outside its limits."""

    # The run. The last run, part 18 of the weights' history, also froze BatchNorm, with seed 71.
    hours: float = value(1.4, "hours to train", above=0)
    seed: int = value(1, "seed of the batches, and of weights that start at random (use --seed)")
    save_minutes: float = value(4.0, "minutes between two saved states")
    frozen: bool = value(False, "keep BatchNorm's statistics as they are in --weights")
    # Batches.
    batch: int = value(12, "scenes in a batch", 1)
    size: int = value(320, "side of a scene, in pixels", 64)
    large_size: int = value(640, "side of a large scene, in pixels", 64)
    large_share: float = chance(0.2, "share of batches with large scenes")
    large_divisor: int = value(4, "a batch of large scenes has batch / large_divisor of them", 1)
    echoes: int = value(2, "earlier batches repeated after each new one, augmented anew")
    remembered: int = value(48, "latest batches from which echoes are drawn (6 MB each)", 1)
    # Optimizers: Muon for pointwise convolutions, AdamW for the rest.
    rate: float = value(3e-4, "highest learning rate", above=0)
    warmup: int = value(50, "steps until the highest rate", 1)
    final_rate: float = chance(0.02, "rate at the end of the cosine, as a share of the highest")
    weight_decay: float = value(1e-4, "decoupled weight decay; 0 for vectors")
    clip_norm: float = value(10.0, "maximum norm of the gradient", above=0)
    adam_beta1: float = value(0.9, "decay of AdamW's mean of gradients", 0, 0.9999)
    adam_beta2: float = value(0.999, "decay of AdamW's mean of squared gradients", 0, 0.999999)
    muon_momentum: float = value(0.95, "Muon's momentum", 0, 0.9999)
    muon_scale: float = value(0.4, "Muon's step is rate * scale * sqrt(longer side)", above=0)
    muon_iterations: int = value(5, "Newton-Schulz iterations of Muon", 1)
    average: float = chance(0.997, "decay of the moving average of the weights")
    average_warmup: int = value(9, "that decay is at most n / (n + average_warmup) after n steps")
    momentum: float = value(0.02, "momentum of BatchNorm's running statistics", 0, 1, above=0)
    # Loss.
    location_weight: float = value(1.0, "weight of the location loss beside the confidence loss")
    giou_weight: float = value(4.0, "weight of GIoU beside smooth L1 in the location loss")
    background_weight: float = value(0.25, "weight of the background class in the confidence loss")
    smallest_weight: float = value(2.5, "weight of the confidence loss on the smallest priors")
    second_weight: float = value(1.5, "weight of that loss on the second smallest priors")
    tiny_weight: float = value(3.0, "maximum location weight of faces below the smallest prior", 1)
    location_min: float = chance(0.05, "target probability above which location is trained")
    # Targets: the teachers' predictions, corrected by labels and by a look at the enlarged scene.
    label_probability: float = chance(0.9, "target probability of a labelled face")
    detected_min: float = chance(0.6, "teacher probability from which a face counts as detected")
    match_iou: float = chance(0.4, "IoU from which two boxes are the same face")
    best_prior_iou: float = chance(0.2, "IoU above which a face always gets its best prior")
    label_boxes: bool = value(True, "labelled faces get their label's box, not the teachers'")
    vote_min: float = chance(0.1, "probability above which priors take part in box voting")
    refine_min: float = chance(
        0.3, "probability above which the enlarged look or a label moves a box"
    )
    nms_iou: float = chance(0.3, "IoU of NMS before box voting")
    max_faces: int = value(750, "maximum number of faces in a scene after NMS", 1)
    enlarged: float = chance(1.0, "share of scenes that teachers also see at twice their size")
    enlarged_min: float = chance(0.7, "probability from which a face of the enlarged look counts")
    enlarged_side: float = value(96.0, "longest side of such a face in it, in pixels")
    enlarged_max_faces: int = value(400, "maximum number of faces in an enlarged scene", 1)
    # Scenes: crops of images, alone or as a mosaic.
    mosaic_2x2: float = chance(0.4, "share of scenes made of 2 x 2 crops")
    mosaic_3x3: float = chance(0.3, "share of scenes made of 3 x 3 crops")
    crowd: int = value(8, "an image is drawn as often as it has faces, up to this number", 1)
    scale_low: float = value(0.8, "lowest scale of a crop; 1 fits the whole image", above=0)
    scale_high: float = value(1.5, "highest scale of a crop; 1 keeps the image's pixels", above=0)
    scale_span: float = value(1.2, "highest scale of small images; 1 fits all", above=0)
    scale_power: float = value(1.5, "above 1, small scales are drawn more often", above=0)
    face_crop_chance: float = chance(0.6, "chance that a crop is drawn around a labelled face")
    face_crop_shift: float = value(0.4, "maximum shift of that face, as a share of the crop")
    visible_min: float = chance(0.4, "share of a face inside a crop from which it stays labelled")
    face_side_min: float = value(3.0, "shortest side of a labelled face in a crop, in pixels")
    flip_chance: float = chance(0.5, "chance of a mirrored crop")
    # Augmentations that the teachers see too.
    rotate_chance: float = chance(0.3, "chance of a rotated scene")
    rotate_degrees: float = value(25.0, "maximum angle of rotation", 0, 180)
    thumbnail_chance: float = chance(0.4, "chance of a shrunk and enlarged scene")
    thumbnail_scale: Range = value((0.4, 1.0), "scale of such a thumbnail", 0.05, 1)
    thumbnail_aspect: Range = value((0.7, 1.0), "scale of either side", 0.05, 1)
    thumbnail_jpeg_chance: float = chance(0.5, "chance that the thumbnail is a JPEG")
    thumbnail_quality: Range = value((60, 89), "its JPEG quality", 1, 100)
    blur_chance: float = chance(0.1, "chance of Gaussian blur")
    blur_radius: Range = value((0.4, 1.6), "radius of the blur, in pixels")
    light_chance: float = chance(0.3, "chance to change light and colour, see below")
    occlusion_chance: float = chance(0.15, "chance of patches over the scene")
    occlusion_patches: Range = value((1, 4), "number of patches", 1, 64)
    occlusion_side: float = value(1 / 6, "longest side, as a share of the scene", 0.1, 1)
    occlusion_plain: float = chance(0.6, "share of patches of one colour; others are rotated parts")
    # Augmentations that only the student sees, besides light and colour below.
    shrink_chance: float = chance(0.25, "chance of a shrunk and enlarged scene")
    shrink_scale: Range = value((0.5, 1.0), "scale of either side", 0.05, 1)
    noise_chance: float = chance(0.25, "chance of Gaussian noise")
    noise_sigma: Range = value((1.0, 12.0), "standard deviation; channels are 0 to 255", 0, 255)
    jpeg_chance: float = chance(0.3, "chance of JPEG compression")
    jpeg_quality: Range = value((25, 89), "JPEG quality", 1, 100)
    # Changes of light and colour.
    brightness_chance: float = chance(0.5, "chance to change contrast and brightness")
    brightness_factor: Range = value((0.6, 1.4), "factor on all channels")
    brightness_offset: float = value(30.0, "maximum offset of channels of 0 to 255", 0, 255)
    tint_chance: float = chance(0.3, "chance to scale each channel")
    tint_factor: Range = value((0.85, 1.15), "factor on one channel")
    saturation_chance: float = chance(0.5, "chance to change the saturation")
    gray_share: float = chance(0.25, "share of these that become gray")
    saturation_factor: Range = value((0.5, 1.5), "factor on the others' saturation")
    gamma_chance: float = chance(0.15, "chance to change gamma")
    gamma: Range = value((0.6, 2.5), "gamma, drawn by its logarithm", 0.01)
    gamma_dim: Range = value((0.4, 1.0), "factor on all channels after gamma")

    def __post_init__(self) -> None:
        check(self)
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
