import numpy as np
import pytest

from geometry.priors import PriorSpec, priors, sizes


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (PriorSpec((16.0, 32.0)), [(16, 16), (32, 32)]),
        (PriorSpec((30.0,), (60.0,)), [(30, 30), (1800**0.5, 1800**0.5)]),
        (
            PriorSpec((30.0,), (60.0,), (4.0,)),
            [(30, 30), (1800**0.5, 1800**0.5), (60, 15), (15, 60)],
        ),
        (PriorSpec((30.0,), aspect_ratios=(4.0,), flip=False), [(30, 30), (60, 15)]),
        # 1 is always there, 0.25 is the flip of 4: neither comes twice.
        (PriorSpec((30.0,), aspect_ratios=(1.0, 4.0, 0.25)), [(30, 30), (60, 15), (15, 60)]),
        (
            PriorSpec((10.0, 20.0), (20.0, 40.0), (4.0,), flip=False),
            [(10, 10), (200**0.5,) * 2, (20, 5), (20, 20), (800**0.5,) * 2, (40, 10)],
        ),
    ],
)
def test_sizes_come_in_the_order_of_caffe(
    spec: PriorSpec, expected: list[tuple[float, float]]
) -> None:
    np.testing.assert_allclose(sizes(spec), np.asarray(expected), rtol=1e-6)


def test_min_and_max_sizes_lose_their_fraction_as_in_caffe() -> None:
    cut = sizes(PriorSpec((35.84,), (76.8,), (2.0,)))
    np.testing.assert_array_equal(cut, sizes(PriorSpec((35.0,), (76.0,), (2.0,))))


def test_priors_run_row_by_row_and_cell_by_cell() -> None:
    spec = PriorSpec((8.0, 16.0), step_width=10.0, step_height=20.0)
    boxes, _ = priors(spec, 3, 2, 100, 200)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 * (100, 200)
    expected = [(x, y) for y in (10, 30) for x in (5, 15, 25) for _ in spec.min_sizes]
    np.testing.assert_allclose(centres, expected, rtol=1e-5)
    np.testing.assert_allclose((boxes[:2, 2] - boxes[:2, 0]) * 100, (8, 16), rtol=1e-5)


def test_without_a_step_cells_share_the_input_evenly() -> None:
    boxes, _ = priors(PriorSpec((8.0,)), 4, 2, 100, 30)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(centres[0], (0.125, 0.25), rtol=1e-6)
    np.testing.assert_allclose(centres[-1], (0.875, 0.75), rtol=1e-6)


def test_the_offset_moves_centres_within_their_cells() -> None:
    boxes, _ = priors(PriorSpec((8.0,), offset=0.25, step_width=8.0, step_height=8.0), 1, 1, 64, 64)
    np.testing.assert_allclose((boxes[0, :2] + boxes[0, 2:]) / 2, 2 / 64, rtol=1e-6)


def test_fractions_refer_to_the_image_size_if_the_layer_states_one() -> None:
    stated = PriorSpec((8.0,), step_width=8.0, step_height=8.0, image_width=128, image_height=32)
    plain = PriorSpec((8.0,), step_width=8.0, step_height=8.0)
    np.testing.assert_array_equal(priors(stated, 2, 2, 64, 64)[0], priors(plain, 2, 2, 128, 32)[0])


@pytest.mark.parametrize("clip", [False, True])
def test_only_clip_cuts_boxes_to_the_image(clip: bool) -> None:
    boxes, _ = priors(PriorSpec((80.0,), clip=clip), 2, 2, 64, 64)
    assert bool((boxes < 0).any()) is not clip
    assert bool((boxes > 1).any()) is not clip


@pytest.mark.parametrize(
    ("variances", "expected"),
    [((0.3,), [0.3] * 4), ((0.1, 0.1, 0.2, 0.2), [0.1, 0.1, 0.2, 0.2])],
)
def test_every_prior_has_the_four_variances(
    variances: tuple[float, ...], expected: list[float]
) -> None:
    _, found = priors(PriorSpec((8.0,), variances=variances), 2, 3, 64, 64)
    np.testing.assert_array_equal(found, np.asarray([expected] * 6, np.float32))
