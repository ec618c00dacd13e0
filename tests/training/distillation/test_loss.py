"""The distillation loss against its formula, worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from training.distillation.loss import distillation_loss  # noqa: E402
from training.recipe import Recipe  # noqa: E402

RECIPE = Recipe()

PRIORS = torch.tensor([[0.0, 0, 1, 1, 0.1, 0.1, 0.2, 0.2], [0, 0, 2, 2, 0.1, 0.1, 0.2, 0.2]])


def test_equal_predictions_cost_nothing() -> None:
    logits = torch.tensor([[[-2.0, 2.0], [3.0, -3.0]]])
    codes = torch.ones(1, 2, 4)
    parts = distillation_loss(codes, logits, codes, logits.sigmoid(), PRIORS, RECIPE)
    assert [part.item() for part in parts] == [0.0, 0.0]


def test_a_difference_costs_its_weighted_cross_entropy_and_a_quarter_for_background() -> None:
    """The student is unsure of the first prior, and right about the second."""
    target = torch.tensor([[[0.1, 0.9], [1.0, 0.0]]])
    student = torch.tensor([[[0.4, 0.5], [1 - 1e-9, 1e-9]]], dtype=torch.float64)
    logits = student.logit()
    codes = torch.zeros(1, 2, 4)
    confidence, _ = distillation_loss(codes, logits, codes, target, PRIORS, RECIPE)
    face = -(0.9 * math.log(0.5) + 0.1 * math.log(0.5)) * (0.9 - 0.5)
    background = -(0.1 * math.log(0.4) + 0.9 * math.log(0.6)) * (0.4 - 0.1)
    # The divisor is 1, the smallest that is used. The prior is the smallest.
    assert confidence.item() == pytest.approx(2.5 * (face + 0.25 * background), rel=1e-4)


@pytest.mark.parametrize(("side", "weight"), [(1.0, 2.5), (2.0, 1.5), (4.0, 1.0), (512.0, 1.0)])
def test_confidence_weighs_more_on_small_priors(side: float, weight: float) -> None:
    smallest = PRIORS[0]
    one = torch.tensor([0.0, 0, side, side, 0.1, 0.1, 0.2, 0.2])
    target = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    equal = torch.full((1, 1, 2), -30.0)
    equal[..., 0] = 30
    codes = torch.zeros(1, 2, 4)
    found = [
        distillation_loss(
            codes,
            torch.cat([equal, torch.ones(1, 1, 2)], 1),
            codes,
            target,
            torch.stack(priors),
            RECIPE,
        )[0].item()
        for priors in ((smallest, one), (smallest, smallest * 64))
    ]
    assert found[0] / found[1] == pytest.approx(weight, rel=1e-4)


@pytest.mark.parametrize(("ratio", "weight"), [(2.0, 1.0), (1.0, 1.0), (0.5, 2.0), (0.1, 3.0)])
def test_locations_of_faces_smaller_than_the_smallest_prior_weigh_more(
    ratio: float, weight: float
) -> None:
    """The same codes on the smallest prior, and on the next."""
    wanted = torch.zeros(1, 2, 4)
    wanted[..., 2:] = math.log(ratio) / 0.2
    losses = []
    for index in (0, 1):
        target = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
        target[0, index] = torch.tensor([0.0, 1.0])
        losses.append(
            distillation_loss(wanted + 1, target * 60 - 30, wanted, target, PRIORS, RECIPE)[1]
        )
    assert (losses[0] / losses[1]).item() == pytest.approx(weight, rel=1e-4)


@pytest.mark.parametrize(("probability", "weight"), [(0.81, 0.9), (0.09, 0.3), (0.04, 0.0)])
def test_a_misplaced_face_costs_by_its_codes_and_its_giou(
    probability: float, weight: float
) -> None:
    target = torch.tensor([[[1 - probability, probability], [1.0, 0.0]]])
    codes = torch.zeros(1, 2, 4)
    _, location = distillation_loss(codes, target.logit(), codes + 2, target, PRIORS, RECIPE)
    # Smooth L1 of 2 is 1.5. Codes of 2 enlarge each side of the prior by e^0.4, and move it by less
    # than it grows. So the prior lies inside, and its share of the area is both IoU and GIoU.
    assert location.item() == pytest.approx(weight * (4 * 1.5 + 4 * (1 - math.exp(-0.8))), rel=1e-4)
