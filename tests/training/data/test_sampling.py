"""Samplers draw parts inside the image that meet their constraints."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.caffe.caffe_pb2 import BatchSampler, SampleConstraint, Sampler
from geometry.arrays import F32
from training.data.sampling import WHOLE, draw, project, propose, satisfies

Box = list[float]

FACE = np.asarray([[0.4, 0.4, 0.6, 0.6]], np.float32)


@given(st.floats(0.05, 1), st.floats(0.3, 1), st.floats(1, 3), st.integers(0, 2**32 - 1))
def test_parts_lie_inside_the_image(least: float, flat: float, steep: float, seed: int) -> None:
    sampler = Sampler(min_scale=least, max_scale=1.0, min_aspect_ratio=flat, max_aspect_ratio=steep)
    part = propose(sampler, np.random.default_rng(seed))
    assert (part >= 0).all()
    assert (part <= 1 + 1e-6).all()
    assert (part[2:] > part[:2]).all()


@pytest.mark.parametrize(
    ("constraint", "part", "good"),
    [
        (SampleConstraint(), [0.0, 0.0, 0.1, 0.1], True),
        (SampleConstraint(min_object_coverage=1.0), [0.3, 0.3, 0.7, 0.7], True),
        (SampleConstraint(min_object_coverage=1.0), [0.5, 0.3, 0.9, 0.7], False),
        (SampleConstraint(min_object_coverage=0.5), [0.5, 0.3, 0.9, 0.7], True),
        (SampleConstraint(max_object_coverage=0.1), [0.3, 0.3, 0.7, 0.7], False),
        (SampleConstraint(min_jaccard_overlap=0.2), [0.3, 0.3, 0.7, 0.7], True),
        (SampleConstraint(min_jaccard_overlap=0.3), [0.3, 0.3, 0.7, 0.7], False),
        (SampleConstraint(min_sample_coverage=0.9), [0.45, 0.45, 0.55, 0.55], True),
    ],
)
def test_a_constraint_of_one_kind_is_met_by_a_face_within_its_limits(
    constraint: SampleConstraint, part: list[float], good: bool
) -> None:
    assert satisfies(np.asarray(part, np.float32), FACE, constraint) is good


# For the left half of the image: IoU, share of the part covered, share of the face covered.
INSIDE = [0.0, 0.0, 0.5, 0.25]  # 1/4, 1/4, 1
ACROSS = [0.25, 0.0, 0.75, 1.0]  # 1/3, 1/2, 1/2
OUTSIDE = [0.625, 0.0, 0.875, 0.5]  # 0, 0, 0


@pytest.mark.parametrize(
    ("limits", "faces", "good"),
    [
        ({"min_jaccard_overlap": 0.25, "min_object_coverage": 1.0}, [INSIDE], True),
        # The first kind fails: the face is left before the second is looked at.
        ({"min_jaccard_overlap": 0.3, "min_object_coverage": 1.0}, [INSIDE], False),
        ({"max_jaccard_overlap": 0.2, "min_object_coverage": 1.0}, [INSIDE], False),
        # The second kind fails after `found` was set, which nothing takes back.
        ({"min_jaccard_overlap": 0.3, "min_object_coverage": 1.0}, [ACROSS], True),
        ({"min_jaccard_overlap": 0.3, "max_object_coverage": 0.2}, [ACROSS], True),
        ({"min_sample_coverage": 0.5, "min_object_coverage": 1.0}, [ACROSS], True),
        ({"min_sample_coverage": 0.5, "min_object_coverage": 1.0}, [INSIDE], False),
        # The order is that of the code, whichever limit is given.
        ({"min_object_coverage": 1.0, "max_sample_coverage": 0.3}, [INSIDE], True),
        ({"min_object_coverage": 0.4, "max_sample_coverage": 0.3}, [ACROSS], False),
        # One face is enough, at any position in the list.
        ({"min_jaccard_overlap": 0.3, "min_object_coverage": 1.0}, [ACROSS, OUTSIDE], True),
        ({"min_jaccard_overlap": 0.3, "min_object_coverage": 1.0}, [INSIDE, ACROSS], True),
        ({"min_jaccard_overlap": 0.1, "min_object_coverage": 0.1}, [OUTSIDE], False),
        ({"max_jaccard_overlap": 0.1, "min_object_coverage": 0.1}, [OUTSIDE], True),
        # Without a face, no constraint is met.
        ({"max_jaccard_overlap": 1.0}, [], False),
    ],
)
def test_the_first_of_several_kinds_decides(
    limits: dict[str, float], faces: list[list[float]], good: bool
) -> None:
    left = np.asarray([0, 0, 0.5, 1], np.float32)
    labelled = np.asarray(faces, np.float32).reshape(-1, 4)
    assert satisfies(left, labelled, SampleConstraint(**limits)) is good


def plainly_satisfies(part: Box, faces: list[Box], limits: dict[str, float]) -> bool:
    """`SatisfySampleConstraint`, line by line."""
    if not limits:
        return True
    found = False
    for face in faces:
        for kind, value in plain_measures(part, face).items():
            if value < limits.get(f"min_{kind}", value) or value > limits.get(f"max_{kind}", value):
                break
            if f"min_{kind}" in limits or f"max_{kind}" in limits:
                found = True
        else:
            if found:
                return True
    return found


def plain_measures(part: Box, face: Box) -> dict[str, float]:
    """`JaccardOverlap` and `BBoxCoverage`, both ways."""
    width = min(part[2], face[2]) - max(part[0], face[0])
    height = min(part[3], face[3]) - max(part[1], face[1])
    common = width * height if width > 0 and height > 0 else 0.0
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (part, face)]
    return {
        "jaccard_overlap": common / (sum(sizes) - common) if common else 0.0,
        "sample_coverage": common / sizes[0] if common else 0.0,
        "object_coverage": common / sizes[1] if common else 0.0,
    }


# Eighths and quarters are the same numbers in 32 and in 64 bits.
eighths = st.tuples(*[st.integers(0, 7), st.integers(1, 8)] * 2).map(
    lambda ends: [
        min(ends[0], ends[1]) / 8,
        min(ends[2], ends[3]) / 8,
        max(ends[0], ends[1]) / 8,
        max(ends[2], ends[3]) / 8,
    ]
)
quarters = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
kinds = ("jaccard_overlap", "sample_coverage", "object_coverage")
names = [f"{end}_{kind}" for kind in kinds for end in ("min", "max")]


@given(
    eighths.filter(lambda box: box[0] < box[2] and box[1] < box[3]),
    st.lists(eighths, max_size=4),
    st.dictionaries(st.sampled_from(names), quarters, max_size=4),
)
def test_constraints_are_met_as_in_caffe(
    part: Box, faces: list[Box], limits: dict[str, float]
) -> None:
    labelled = np.asarray(faces, np.float32).reshape(-1, 4)
    found = satisfies(np.asarray(part, np.float32), labelled, SampleConstraint(**limits))
    assert found is plainly_satisfies(part, faces, limits)


def test_an_image_without_faces_is_used_whole_if_faces_are_required() -> None:
    sampler = BatchSampler(
        sampler=Sampler(min_scale=0.3, max_scale=0.5),
        sample_constraint=SampleConstraint(min_object_coverage=1.0),
        max_sample=1,
        max_trials=5,
    )
    none = np.zeros((0, 4), np.float32)
    assert draw([sampler], none, np.random.default_rng(0)) is WHOLE


@pytest.mark.parametrize(
    ("part", "moved"),
    [
        (WHOLE.tolist(), [[0.4, 0.4, 0.6, 0.6]]),
        ([0.4, 0.4, 0.8, 0.8], [[0.0, 0.0, 0.5, 0.5]]),
        # The centre is inside, the rest is cut off.
        ([0.45, 0.0, 0.95, 1.0], [[0.0, 0.4, 0.3, 0.6]]),
        ([0.55, 0.0, 1.0, 1.0], []),
    ],
)
def test_faces_with_their_centre_in_the_part_move_with_it(
    part: list[float], moved: list[list[float]]
) -> None:
    found: F32 = project(FACE, np.asarray(part, np.float32))
    assert found == pytest.approx(np.asarray(moved, np.float32).reshape(-1, 4), abs=1e-6)
