"""Single layers in torch compute what Caffe computes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from convert.caffe import caffe_pb2  # noqa: E402
from convert.caffe.caffe_pb2 import LayerParameter  # noqa: E402
from convert.caffe.network import Layer  # noqa: E402
from convert.layers.registry import LayerError  # noqa: E402
from training.network import operators  # noqa: E402
from training.network.operators import BatchNorm, Convolution, Eltwise, Permute, Reshape  # noqa: E402


def noise(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(0, 60, shape).astype(np.float32)


@pytest.mark.parametrize("side", [7, 8])
def test_a_strided_depthwise_convolution_gives_the_same_in_training_as_after(side: int) -> None:
    convolution = Convolution(6, 6, 3, 2, 1, groups=6).double()
    plain = torch.nn.Conv2d(6, 6, 3, 2, 1, groups=6).double()
    plain.load_state_dict(convolution.state_dict())
    image = torch.from_numpy(noise(2, 6, side, side)).double()
    made, expected = convolution.train()(image), plain(image)
    assert torch.allclose(made, expected)
    torch.autograd.backward([made.square().sum(), expected.square().sum()])
    for ours, theirs in zip(convolution.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad)


def test_running_statistics_are_caffes_decayed_sums_over_their_factor() -> None:
    norm = BatchNorm(1, 1e-5, 0.5, scaled=False).train()
    batches = [torch.tensor([1.0, 3.0]), torch.tensor([5.0, 9.0])]
    mean_sum = variance_sum = factor = 0.0
    for batch in batches:
        norm(batch.reshape(2, 1, 1, 1))
        mean_sum = 0.5 * mean_sum + batch.mean().item()
        # Caffe corrects the bias of the batch's variance: m / (m - 1).
        variance_sum = 0.5 * variance_sum + batch.var().item()
        factor = 0.5 * factor + 1
    assert [float(each[0]) for each in norm.blobs()] == pytest.approx(
        [mean_sum, variance_sum, factor]
    )


def test_eltwise_sums_with_coefficients_multiplies_and_takes_the_maximum() -> None:
    one, other = torch.tensor([[1.0, 5.0]]), torch.tensor([[2.0, -3.0]])
    of = caffe_pb2.EltwiseParameter
    assert Eltwise(of.SUM, (2.0, -1.0))(one, other).tolist() == [[0.0, 13.0]]
    assert Eltwise(of.PROD, ())(one, other).tolist() == [[2.0, -15.0]]
    assert Eltwise(of.MAX, ())(one, other).tolist() == [[2.0, 5.0]]


def test_a_permutation_keeps_the_axes_that_it_does_not_name() -> None:
    assert Permute((0, 2))(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 3, 5)


def test_a_reshape_keeps_axes_of_0_and_infers_minus_1() -> None:
    parameter = caffe_pb2.ReshapeParameter()
    parameter.shape.dim.extend([0, -1, 2])
    assert Reshape(parameter)(torch.zeros(3, 8)).shape == (3, 4, 2)


@pytest.mark.parametrize(
    ("filler", "deviation"),
    [("msra", (2 / 36) ** 0.5), ("xavier", (1 / 36) ** 0.5), ("gaussian", 0.5)],
)
def test_fillers_have_caffes_standard_deviation(filler: str, deviation: float) -> None:
    torch.manual_seed(1)
    layer = LayerParameter(name="c", type="Convolution")
    layer.convolution_param.num_output = 256
    layer.convolution_param.weight_filler.type = filler
    layer.convolution_param.weight_filler.std = 0.5
    module = Convolution(4, 256, 3, bias=False)
    operators.initialise(module, Layer("c", "Convolution", 1, (), (), layer), None)
    assert module.weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_an_unknown_filler_is_refused_with_the_known_ones() -> None:
    layer = LayerParameter(name="c", type="Convolution")
    layer.convolution_param.weight_filler.type = "bilinear"
    module = Convolution(4, 8, 3, bias=False)
    with pytest.raises(LayerError, match="'bilinear' is not supported; use one of constant"):
        operators.initialise(module, Layer("c", "Convolution", 1, (), (), layer), None)
