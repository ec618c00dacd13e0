"""IoU, codes and boxes in torch equal those in NumPy and in the papers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from geometry import coding  # noqa: E402
from training.network.boxes import decode, giou  # noqa: E402


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ([0, 0, 2, 1], [0, 0, 2, 1], 1),
        # A third is shared. The enclosing box has no empty area.
        ([0, 0, 2, 1], [1, 0, 3, 1], 1 / 3),
        # They share 1 of 7. The enclosing box has 9, of which 2 are empty.
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9),
        # Apart: a third of the enclosing box is empty.
        ([0, 0, 1, 1], [2, 0, 3, 1], -1 / 3),
    ],
)
def test_giou_is_that_of_the_paper(box: list[float], other: list[float], expected: float) -> None:
    pair = torch.tensor([box], dtype=torch.float32), torch.tensor([other], dtype=torch.float32)
    assert giou(*pair).item() == pytest.approx(expected)
    assert giou(*reversed(pair)).item() == pytest.approx(expected)


def test_codes_decode_to_the_same_boxes_as_in_numpy() -> None:
    random = np.random.default_rng(5)
    corner = random.uniform(0, 0.5, (50, 2))
    priors = np.concatenate([corner, corner + random.uniform(0.01, 0.5, (50, 2))], 1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], (50, 1))
    codes = random.normal(0, 3, (50, 4))
    found = decode(torch.tensor(codes), torch.tensor(np.concatenate([priors, variances], 1)))
    assert np.allclose(found.numpy(), coding.decode(codes, priors, variances))


def test_boxes_are_finite_for_any_codes() -> None:
    priors = torch.tensor([[0.0, 0, 1, 1, 0.1, 0.1, 0.2, 0.2]])
    assert decode(torch.full((1, 4), 1e6), priors).isfinite().all()
