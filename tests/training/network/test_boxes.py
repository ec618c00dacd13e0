"""Boxes and codes in torch against those in NumPy."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from geometry import coding  # noqa: E402
from training.network.boxes import decode, generalized_overlap  # noqa: E402


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ([0, 0, 2, 1], [0, 0, 2, 1], 1),
        # A third is shared, and nothing lies between.
        ([0, 0, 2, 1], [1, 0, 3, 1], 1 / 3),
        # They share 1 of 7, and 2 of the 9 around them are of neither.
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9),
        # Apart: a third of what is around them lies between.
        ([0, 0, 1, 1], [2, 0, 3, 1], -1 / 3),
    ],
)
def test_the_generalized_overlap_is_that_of_the_paper(
    box: list[float], other: list[float], expected: float
) -> None:
    pair = torch.tensor([box], dtype=torch.float32), torch.tensor([other], dtype=torch.float32)
    assert generalized_overlap(*pair).item() == pytest.approx(expected)
    assert generalized_overlap(*reversed(pair)).item() == pytest.approx(expected)


def test_codes_stand_for_the_boxes_that_numpy_makes_of_them() -> None:
    random = np.random.default_rng(5)
    corner = random.uniform(0, 0.5, (50, 2))
    priors = np.concatenate([corner, corner + random.uniform(0.01, 0.5, (50, 2))], 1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], (50, 1))
    codes = random.normal(0, 3, (50, 4))
    found = decode(torch.tensor(codes), torch.tensor(np.concatenate([priors, variances], 1)))
    assert np.allclose(found.numpy(), coding.decode(codes, priors, variances))


def test_no_box_is_infinite_whatever_the_codes() -> None:
    priors = torch.tensor([[0.0, 0, 1, 1, 0.1, 0.1, 0.2, 0.2]])
    assert decode(torch.full((1, 4), 1e6), priors).isfinite().all()
