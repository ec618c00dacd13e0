"""Samplers: parts inside the photograph that meet their constraint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.caffe.caffe_pb2 import BatchSampler, SampleConstraint, Sampler
from training.matching import F32
from training.sampling import WHOLE, draw, project, propose, satisfies

FACE = np.asarray([[0.4, 0.4, 0.6, 0.6]], np.float32)


@given(st.floats(0.05, 1), st.floats(0.3, 1), st.floats(1, 3), st.integers(0, 2**32 - 1))
def test_parts_lie_inside_the_photograph(
    least: float, flat: float, steep: float, seed: int
) -> None:
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
        # One kind that holds is enough.
        (
            SampleConstraint(min_jaccard_overlap=0.9, min_object_coverage=1.0),
            [0.3, 0.3, 0.7, 0.7],
            True,
        ),
    ],
)
def test_a_constraint_is_met_by_any_face_of_any_kind(
    constraint: SampleConstraint, part: list[float], good: bool
) -> None:
    assert satisfies(np.asarray(part, np.float32), FACE, constraint) is good


def test_a_photograph_without_faces_is_taken_whole_where_faces_are_asked_for() -> None:
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
