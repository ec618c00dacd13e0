"""SSD's batch samplers: random parts of an image that meet constraints on its faces.

Source: `src/caffe/util/sampler.cpp` of github.com/weiliu89/caffe.
"""

from collections.abc import Iterable

import numpy as np

from convert.caffe.caffe_pb2 import BatchSampler, SampleConstraint, Sampler
from geometry.arrays import F32, Floats
from geometry.boxes import area, intersection, iou

WHOLE = np.asarray([0, 0, 1, 1], np.float32)


def draw(samplers: Iterable[BatchSampler], faces: F32, random: np.random.Generator) -> F32:
    """Draw a part [4] of an image with `faces` [N, 4], all in fractions of the image.

    Each sampler makes up to `max_sample` parts that meet its constraint, in up to `max_trials`
    trials. One of all these parts is drawn. If there are none, it is the whole image.
    """
    found: list[F32] = []
    for sampler in samplers:
        if not sampler.use_original_image:
            continue
        own = 0
        for _ in range(sampler.max_trials):
            if sampler.HasField("max_sample") and own >= sampler.max_sample:
                break
            part = propose(sampler.sampler, random)
            if satisfies(part, faces, sampler.sample_constraint):
                own += 1
                found.append(part)
    return found[int(random.integers(len(found)))] if found else WHOLE


def propose(sampler: Sampler, random: np.random.Generator) -> F32:
    """A part of random scale, aspect ratio and place, inside the image."""
    scale = random.uniform(sampler.min_scale, sampler.max_scale)
    low = max(sampler.min_aspect_ratio, scale**2)
    high = min(sampler.max_aspect_ratio, 1 / scale**2)
    ratio = random.uniform(low, high) if low < high else low
    width, height = min(scale * ratio**0.5, 1.0), min(scale / ratio**0.5, 1.0)
    left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
    return np.asarray([left, top, left + width, top + height], np.float32)


def satisfies(part: F32, faces: F32, constraint: SampleConstraint) -> bool:
    """Whether any face is within the limits of the first kind that has limits.

    Without limits, every part will do. `SatisfySampleConstraint` checks the kinds in order for each
    face, and skips to the next face at the first kind that fails. But `found` stays set once an
    earlier kind has set it. So the later kinds never change the answer.
    """
    common = intersection(part[None], faces)[0]
    for kind, values in (
        ("jaccard_overlap", iou(part[None], faces)[0]),
        ("sample_coverage", _share(common, area(part[None]))),
        ("object_coverage", _share(common, area(faces))),
    ):
        has_least = constraint.HasField(f"min_{kind}")
        has_most = constraint.HasField(f"max_{kind}")
        if has_least or has_most:
            good = np.ones(len(faces), np.bool_)
            if has_least:
                good &= values >= np.float32(getattr(constraint, f"min_{kind}"))
            if has_most:
                good &= values <= np.float32(getattr(constraint, f"max_{kind}"))
            return bool(good.any())
    return True


def _share(common: Floats, areas: Floats) -> Floats:
    """`BBoxCoverage` (bbox_util.cpp): 0 without an intersection, also for an empty box."""
    return np.divide(common, areas, out=np.zeros_like(common), where=common > 0)


def project(faces: F32, part: F32, *, by_centre: bool = True) -> F32:
    """The faces [N, 4] inside the part, clipped to it, in fractions of it.

    If `by_centre`, faces with their centre inside. Otherwise all faces that overlap the part, as
    `AnnotationTransform` does without an emit constraint.
    """
    if by_centre:
        centres = (faces[:, :2] + faces[:, 2:]) / 2
        faces = faces[((centres >= part[:2]) & (centres <= part[2:])).all(1)]
    sides = np.tile(part[2:] - part[:2], 2)
    moved = ((faces - np.tile(part[:2], 2)) / sides).clip(0, 1).astype(np.float32)
    return moved[((moved[:, 2:] - moved[:, :2]) > 0).all(1)]
