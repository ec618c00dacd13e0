"""Muon's steps, against singular value decomposition."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from training.distillation.muon import Muon, orthogonal  # noqa: E402


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_a_matrix_keeps_its_singular_vectors_and_has_values_near_one(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonal(matrix) @ right.T
    likely = found.diagonal()[values > 0.05 * values.norm()]
    assert len(likely) > 4
    assert ((likely > 0.65) & (likely < 1.25)).all()
    assert torch.allclose(found, found.diagonal().diag(), atol=1e-9)
    assert not orthogonal(torch.zeros(shape)).any()


def test_steps_are_those_of_the_formula() -> None:
    torch.manual_seed(2)
    weight = torch.nn.Parameter(torch.randn(6, 4, 1, 1, dtype=torch.float64))
    expected, momentum = weight.detach().clone(), torch.zeros(6, 4, dtype=torch.float64)
    optimizer = Muon([weight], 0.01, 0.1)
    for _ in range(3):
        weight.grad = torch.randn_like(weight)
        optimizer.step()
        gradient = weight.grad[..., 0, 0]
        momentum = 0.95 * momentum + gradient
        step = orthogonal(gradient + 0.95 * momentum)[..., None, None]
        expected = (1 - 0.01 * 0.1) * expected - 0.01 * 0.4 * 6**0.5 * step
    assert torch.allclose(weight, expected, rtol=1e-12)
