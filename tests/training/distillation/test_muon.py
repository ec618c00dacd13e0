"""Muon's steps against a singular value decomposition."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from training.distillation.muon import Muon, orthogonalize  # noqa: E402
from training.recipe import Recipe  # noqa: E402


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_a_matrix_keeps_its_singular_vectors_and_gets_singular_values_near_one(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalize(matrix, 5) @ right.T
    likely = found.diagonal()[values > 0.05 * values.norm()]
    assert len(likely) > 4
    assert ((likely > 0.65) & (likely < 1.25)).all()
    assert torch.allclose(found, found.diagonal().diag(), atol=1e-9)
    assert not orthogonalize(torch.zeros(shape), 5).any()


def test_steps_follow_the_formula() -> None:
    torch.manual_seed(2)
    weight = torch.nn.Parameter(torch.randn(6, 4, 1, 1, dtype=torch.float64))
    expected, momentum = weight.detach().clone(), torch.zeros(6, 4, dtype=torch.float64)
    optimizer = Muon([weight], Recipe(rate=0.01, weight_decay=0.1))
    for _ in range(3):
        weight.grad = torch.randn_like(weight)
        optimizer.step()
        gradient = weight.grad[..., 0, 0]
        momentum = 0.95 * momentum + gradient
        step = orthogonalize(gradient + 0.95 * momentum, 5)[..., None, None]
        expected = (1 - 0.01 * 0.1) * expected - 0.01 * 0.4 * 6**0.5 * step
    assert torch.allclose(weight, expected, rtol=1e-12)
