"""Embed by its formula, alone and before an LSTM: OpenCV has no such layer."""

from collections.abc import Callable

import numpy as np
import pytest

from convert.conversion import convert_bytes
from convert.options import Options
from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "words" type: "Embed" bottom: "data" top: "words"
                        embed_param {{ {parameter} }} }}"""


@pytest.mark.parametrize("shape", [(), (3,), (3, 1, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_each_number_becomes_the_row_that_it_names(
    run: Run, rng: np.random.Generator, shape: tuple[int, ...], bias: bool
) -> None:
    numbers = rng.integers(5, size=(7, *shape))
    table, shift = rng.normal(size=(5, 4)), rng.normal(size=4)
    parameter = f"num_output: 4 input_dim: 5 bias_term: {str(bias).lower()}"
    blobs = {"words": [table, shift][: 1 + bias]}
    found = run(layer(parameter), numbers.astype(np.float32), blobs)["words"]
    np.testing.assert_allclose(found, table[numbers] + shift * bias, rtol=1e-5)


def test_numbers_are_cut_to_whole_ones(run: Run) -> None:
    """As a C cast does."""
    table = np.arange(6.0).reshape(3, 2)
    x = np.array([0.9, 1.5, 2.0], np.float32)
    found = run(layer("num_output: 2 input_dim: 3 bias_term: false"), x, {"words": [table]})
    assert found["words"].tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("parameter", "shapes", "message"),
    [
        ("num_output: 4", [], "input_dim and num_output must be stated"),
        ("input_dim: 4", [], "input_dim and num_output must be stated"),
        ("num_output: 4 input_dim: 5", [(4, 5), (4,)], "expected shape [5, 4]"),
        ("num_output: 4 input_dim: 5", [], "no weights for it"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    parameter: str,
    shapes: list[tuple[int, ...]],
    message: str,
) -> None:
    blobs = {"words": [np.zeros(shape) for shape in shapes]}
    (found,) = problems(layer(parameter), np.zeros((7, 3), np.float32), blobs)
    assert message in found


def test_a_caption_network_is_verified_with_word_numbers() -> None:
    """Words, then an LSTM, then the chance of each next word, as in LRCN."""
    text = """name: "captions"
    input: ["sentence", "cont"] input_shape { dim: [4, 2] } input_shape { dim: [4, 2] }
    layer { name: "words" type: "Embed" bottom: "sentence" top: "words"
            embed_param { num_output: 6 input_dim: 9 } }
    layer { name: "lstm" type: "LSTM" bottom: "words" bottom: "cont" top: "lstm"
            recurrent_param { num_output: 5 } }
    layer { name: "next" type: "InnerProduct" bottom: "lstm" top: "next"
            inner_product_param { num_output: 9 axis: 2 } }
    layer { name: "chance" type: "Softmax" bottom: "next" top: "chance"
            softmax_param { axis: 2 } }"""
    _, report = convert_bytes(text.encode(), None, Options(simulated_weights=3))
    assert report.verification.status == "verified"
    assert report.inputs == {"sentence": ["time", 2], "cont": ["time", 2]}
    assert report.outputs == {"chance": ["time", 2, 9]}
