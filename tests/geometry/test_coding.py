import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geometry.coding import CodeType, decode, encode

PRIOR = np.asarray([[0.2, 0.3, 0.6, 0.5]])
VARIANCES = np.asarray([[0.1, 0.1, 0.2, 0.2]])
CODE = np.asarray([[1.0, -2.0, 0.5, 1.0]])


@pytest.mark.parametrize(
    ("code_type", "in_target", "expected"),
    [
        (CodeType.CORNER, False, (0.3, 0.1, 0.7, 0.7)),
        (CodeType.CORNER, True, (1.2, -1.7, 1.1, 1.5)),
        (CodeType.CORNER_SIZE, False, (0.24, 0.26, 0.64, 0.54)),
        (CodeType.CORNER_SIZE, True, (0.6, -0.1, 0.8, 0.7)),
        (
            CodeType.CENTER_SIZE,
            False,
            (
                0.44 - 0.2 * np.exp(0.1),
                0.36 - 0.1 * np.exp(0.2),
                0.44 + 0.2 * np.exp(0.1),
                0.36 + 0.1 * np.exp(0.2),
            ),
        ),
        (
            CodeType.CENTER_SIZE,
            True,
            (
                0.8 - 0.2 * np.exp(0.5),
                -0.1 * np.exp(1.0),
                0.8 + 0.2 * np.exp(0.5),
                0.1 * np.exp(1.0),
            ),
        ),
    ],
)
def test_a_code_decodes_to_the_box_of_caffes_formula(
    code_type: CodeType, in_target: bool, expected: tuple[float, ...]
) -> None:
    found = decode(CODE, PRIOR, VARIANCES, code_type, in_target)
    np.testing.assert_allclose(found, [expected], atol=1e-12)


corner = st.floats(-1, 1, allow_nan=False)
side = st.floats(0.01, 2, allow_nan=False)


@given(
    hnp.arrays(float, (2, 5, 2), elements=corner),
    hnp.arrays(float, (2, 5, 2), elements=side),
    st.sampled_from(CodeType),
    st.booleans(),
)
def test_decode_undoes_encode(
    corners: np.ndarray[tuple[int, int, int], np.dtype[np.float64]],
    sides: np.ndarray[tuple[int, int, int], np.dtype[np.float64]],
    code_type: CodeType,
    in_target: bool,
) -> None:
    boxes, priors = np.concatenate([corners, corners + sides], axis=-1)
    variances = np.broadcast_to(VARIANCES, priors.shape)
    codes = encode(boxes, priors, variances, code_type, in_target)
    np.testing.assert_allclose(
        decode(codes, priors, variances, code_type, in_target), boxes, atol=1e-9
    )


@pytest.mark.parametrize("code_type", CodeType)
def test_a_box_on_its_prior_has_the_code_zero(code_type: CodeType) -> None:
    np.testing.assert_allclose(encode(PRIOR, PRIOR, VARIANCES, code_type), 0, atol=1e-12)


@pytest.mark.parametrize("code_type", CodeType)
def test_a_batch_decodes_like_single_images_and_stays_float32(code_type: CodeType) -> None:
    codes = np.random.default_rng(1).normal(size=(3, 2, 4)).astype(np.float32)
    priors = np.asarray([[0.1, 0.1, 0.4, 0.3], [0.5, 0.2, 0.9, 0.9]], np.float32)
    variances = np.full((2, 4), 0.1, np.float32)
    batch = decode(codes, priors, variances, code_type)
    assert batch.dtype == np.float32
    for one, row in zip(codes, batch, strict=True):
        np.testing.assert_array_equal(decode(one, priors, variances, code_type), row)
