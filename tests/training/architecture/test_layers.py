"""Single layers have the settings of the published files."""

import pytest

from training.architecture import layers


@pytest.mark.parametrize(("kernel", "pad"), [(1, []), (3, [1]), (5, [2])])
def test_a_convolution_is_padded_to_keep_the_size(kernel: int, pad: list[int]) -> None:
    layer = layers.convolution("c", "data", 8, kernel=kernel, bias=False)
    assert list(layer.convolution_param.pad) == pad
    assert list(layer.top) == ["c"]


def test_statistics_are_not_trained_and_the_scale_does_not_decay() -> None:
    norm, scale = layers.batch_norm("Conv")
    assert (norm.name, scale.name) == ("Conv/bn", "Conv/scale")
    assert [(each.lr_mult, each.decay_mult) for each in norm.param] == [(0, 0)] * 3
    assert [(each.lr_mult, each.decay_mult) for each in scale.param] == [(1, 0), (2, 0)]


@pytest.mark.parametrize("stated", [True, False])
def test_a_head_states_its_bias_only_if_asked_to(stated: bool) -> None:
    layer = layers.head_convolution("head", "Conv_1", 8, bias_stated=stated)
    assert layer.convolution_param.HasField("bias_term") is stated
    assert layer.convolution_param.bias_term


def test_priors_have_the_sizes_and_the_step_of_their_feature() -> None:
    parameter = layers.prior_box("priors", "Conv_1", (16, 32), 8).prior_box_param
    assert (list(parameter.min_size), parameter.step) == ([16, 32], 8)
