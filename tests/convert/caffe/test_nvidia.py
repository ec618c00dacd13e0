"""Each order of blobs that NVIDIA Caffe wrote, with values that tell one blob from another."""

import numpy as np
import pytest

from convert.caffe import nvidia, prototxt
from convert.caffe.caffe_pb2 import LayerParameter, NetParameter
from convert.caffe.weights import Blobs
from geometry.arrays import F32

CHANNELS = 6
RANDOM = np.random.default_rng(4)
MEAN = RANDOM.normal(size=CHANNELS).astype(np.float32)
VARIANCE = RANDOM.uniform(0.5, 2, CHANNELS).astype(np.float32)
SCALE = RANDOM.uniform(0.5, 2, CHANNELS).astype(np.float32)
BIAS = RANDOM.normal(size=CHANNELS).astype(np.float32)


def layer(parameter: str = "scale_bias: true", kind: str = "BatchNorm") -> LayerParameter:
    text = f"layer {{ name: 'bn' type: '{kind}' batch_norm_param {{ {parameter} }} }}"
    return prototxt.parse(text, NetParameter).message.layer[0]


def one(value: float = 1.0) -> F32:
    return np.full(1, value, np.float32)


def legacy(*blobs: F32) -> Blobs:
    """The shapes that NVIDIA Caffe wrote before 0.16."""
    return tuple(blob.reshape(1, -1, 1, 1) for blob in blobs)


@pytest.mark.parametrize(
    ("blobs", "expected"),
    [
        # NVIDIA Caffe 0.16; the factor is not used.
        ((MEAN, VARIANCE, one(0), SCALE, BIAS), (MEAN, VARIANCE, one(), SCALE, BIAS)),
        # DIGITS.
        (legacy(SCALE, BIAS, MEAN, VARIANCE, one()), (MEAN, VARIANCE, one(), SCALE, BIAS)),
        (legacy(SCALE, BIAS, MEAN, VARIANCE), (MEAN, VARIANCE, one(), SCALE, BIAS)),
        ((SCALE, BIAS, MEAN, VARIANCE), (MEAN, VARIANCE, one(), SCALE, BIAS)),
        ((MEAN, VARIANCE, SCALE, BIAS), (MEAN, VARIANCE, one(), SCALE, BIAS)),
        # Where the signs leave it open, the legacy shape decides.
        (
            legacy(SCALE, np.abs(BIAS), MEAN, VARIANCE),
            (MEAN, VARIANCE, one(), SCALE, np.abs(BIAS)),
        ),
        (
            (MEAN, VARIANCE, SCALE, np.abs(BIAS)),
            (MEAN, VARIANCE, one(), SCALE, np.abs(BIAS)),
        ),
        # A bias of zeros can't be a variance.
        ((SCALE, 0 * BIAS, MEAN, VARIANCE), (MEAN, VARIANCE, one(), SCALE, 0 * BIAS)),
        # Without a bias, and without a scale as well.
        ((MEAN, VARIANCE, one(2), SCALE), (MEAN, VARIANCE, one(), SCALE, 0 * BIAS)),
        ((MEAN, VARIANCE, one(2)), (MEAN, VARIANCE, one(2), 0 * BIAS + 1, 0 * BIAS)),
    ],
)
def test_every_order_becomes_mean_variance_factor_scale_bias(blobs: Blobs, expected: Blobs) -> None:
    found, ordered = nvidia.current(layer(), blobs)
    assert found.batch_norm_param.scale_bias
    assert [blob.shape for blob in ordered] == [blob.shape for blob in expected]
    for one_of, other in zip(ordered, expected, strict=True):
        np.testing.assert_array_equal(one_of, other)


def test_one_channel_is_in_digits_order_if_its_shape_is_the_legacy_one() -> None:
    values = [one(number) for number in (1, 2, 3, 4, 5)]
    _, newer = nvidia.current(layer(), tuple(values))
    _, older = nvidia.current(layer(), legacy(*values))
    assert [float(blob[0]) for blob in newer] == [1, 2, 1, 4, 5]
    assert [float(blob[0]) for blob in older] == [3, 4, 1, 1, 2]


def test_the_fillers_make_what_the_file_lacks() -> None:
    fillers = "scale_filler { value: 3 } bias_filler { value: -1 }"
    found, ordered = nvidia.current(layer(fillers), (MEAN, VARIANCE, one()))
    assert found.batch_norm_param.scale_bias
    assert set(ordered[3]) == {3.0}
    assert set(ordered[4]) == {-1.0}


@pytest.mark.parametrize(
    ("parameter", "blobs"),
    [
        ("", (MEAN, VARIANCE, one())),
        ("scale_bias: true", ()),
        ("scale_bias: true", (MEAN, VARIANCE)),
        ("scale_bias: true", (MEAN, VARIANCE[1:], one(), SCALE, BIAS)),
        ("scale_filler { type: 'gaussian' }", (MEAN, VARIANCE, one())),
    ],
)
def test_other_layers_stay_as_they_are(parameter: str, blobs: Blobs) -> None:
    given = layer(parameter)
    found, ordered = nvidia.current(given, blobs)
    assert found is given
    assert ordered is blobs


def test_only_a_batch_norm_is_rewritten() -> None:
    given = layer(kind="Scale")
    assert nvidia.current(given, (SCALE,) * 5)[0] is given


@pytest.mark.parametrize(("stated", "used"), [(1e-9, 1e-5), (1e-3, 1e-3)])
def test_eps_is_at_least_nvidias(stated: float, used: float) -> None:
    blobs = (MEAN, VARIANCE, one(), SCALE, BIAS)
    found, _ = nvidia.current(layer(f"scale_bias: true eps: {stated}"), blobs)
    assert found.batch_norm_param.eps == pytest.approx(used)
