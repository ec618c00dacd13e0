"""The loss of a distillation, against its formula worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from training.distillation.loss import imitation_loss  # noqa: E402

PRIORS = torch.tensor([[0.0, 0, 1, 1, 0.1, 0.1, 0.2, 0.2], [0, 0, 2, 2, 0.1, 0.1, 0.2, 0.2]])


def test_agreement_costs_nothing() -> None:
    logits = torch.tensor([[[-2.0, 2.0], [3.0, -3.0]]])
    codes = torch.ones(1, 2, 4)
    parts = imitation_loss(codes, logits, codes, logits.sigmoid(), PRIORS)
    assert [part.item() for part in parts] == [0.0, 0.0]


def test_a_disagreement_costs_its_logarithm_by_its_size_and_a_quarter_for_background() -> None:
    """Two priors: the first is a face of which the student is unsure, the second is agreed on."""
    taught = torch.tensor([[[0.1, 0.9], [1.0, 0.0]]])
    student = torch.tensor([[[0.4, 0.5], [1 - 1e-9, 1e-9]]], dtype=torch.float64)
    logits = student.logit()
    codes = torch.zeros(1, 2, 4)
    confidence, _ = imitation_loss(codes, logits, codes, taught, PRIORS)
    face = -(0.9 * math.log(0.5) + 0.1 * math.log(0.5)) * (0.9 - 0.5)
    background = -(0.1 * math.log(0.4) + 0.9 * math.log(0.6)) * (0.4 - 0.1)
    # Over 1 face, the least that is counted; on the smallest prior.
    assert confidence.item() == pytest.approx(2.5 * (face + 0.25 * background), rel=1e-4)


@pytest.mark.parametrize(("side", "weight"), [(1.0, 2.5), (2.0, 1.5), (4.0, 1.0), (512.0, 1.0)])
def test_certainty_weighs_more_on_small_priors(side: float, weight: float) -> None:
    smallest = PRIORS[0]
    one = torch.tensor([0.0, 0, side, side, 0.1, 0.1, 0.2, 0.2])
    taught = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    agreed = torch.full((1, 1, 2), -30.0)
    agreed[..., 0] = 30
    codes = torch.zeros(1, 2, 4)
    found = [
        imitation_loss(
            codes, torch.cat([agreed, torch.ones(1, 1, 2)], 1), codes, taught, torch.stack(priors)
        )[0].item()
        for priors in ((smallest, one), (smallest, smallest * 64))
    ]
    assert found[0] / found[1] == pytest.approx(weight, rel=1e-4)


@pytest.mark.parametrize(("ratio", "weight"), [(2.0, 1.0), (1.0, 1.0), (0.5, 2.0), (0.1, 3.0)])
def test_places_of_faces_smaller_than_the_smallest_prior_weigh_more(
    ratio: float, weight: float
) -> None:
    """The same codes on the smallest prior, and on the next."""
    wanted = torch.zeros(1, 2, 4)
    wanted[..., 2:] = math.log(ratio) / 0.2
    losses = []
    for index in (0, 1):
        taught = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
        taught[0, index] = torch.tensor([0.0, 1.0])
        losses.append(imitation_loss(wanted + 1, taught * 60 - 30, wanted, taught, PRIORS)[1])
    assert (losses[0] / losses[1]).item() == pytest.approx(weight, rel=1e-4)


@pytest.mark.parametrize(("certainty", "weight"), [(0.81, 0.9), (0.09, 0.3), (0.04, 0.0)])
def test_a_misplaced_face_costs_by_its_codes_and_its_overlap_where_one_may_be(
    certainty: float, weight: float
) -> None:
    taught = torch.tensor([[[1 - certainty, certainty], [1.0, 0.0]]])
    codes = torch.zeros(1, 2, 4)
    _, location = imitation_loss(codes, taught.logit(), codes + 2, taught, PRIORS)
    # Smooth L1 of 2 is 1.5. Codes of 2 enlarge the prior by e^0.4 a side and move it by less than
    # it grows: it lies inside, and its area is the IoU, and the GIoU too.
    assert location.item() == pytest.approx(weight * (4 * 1.5 + 4 * (1 - math.exp(-0.8))), rel=1e-4)
