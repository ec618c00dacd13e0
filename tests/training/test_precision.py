"""bfloat16 on processors that support it, float32 on others."""

from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from training.precision import autocast  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.network.network import CaffeNetwork


@pytest.fixture(params=["AVX512", "AVX2", "DEFAULT"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: name)
    return name


def test_only_processors_with_avx_512_compute_in_bfloat16(processor: str) -> None:
    expected = torch.bfloat16 if processor == "AVX512" else torch.float32
    with autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_predictions_are_nearly_the_same_in_both(
    network: "Callable[[int], CaffeNetwork]", processor: str
) -> None:
    data = 40 * torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact = network(1).eval().detect(data)[1].sigmoid()
        with autocast():
            found = network(1).eval().detect(data)[1].float().sigmoid()
    assert exact.std() > 0.01
    assert (found - exact).abs().mean() < 0.01
