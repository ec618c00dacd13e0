"""RNN against Caffe's formula: OpenCV takes other bottoms."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
TIME, INPUTS, OUTPUTS, STATIC = 5, 6, 4, 3
SHAPES = {"data": (TIME, "batch", INPUTS), "cont": (TIME, "batch"), "h0": (1, "batch", OUTPUTS)}


def layer(bottoms: str = "data", tops: str = "o", parameter: str = "") -> str:
    names = "".join(f'bottom: "{name}" ' for name in bottoms.split())
    names += "".join(f'top: "{name}" ' for name in tops.split())
    return f"""layer {{ name: "rnn" type: "RNN" {names}
                        recurrent_param {{ num_output: {OUTPUTS} {parameter} }} }}"""


def rnn(
    x: F32,
    blobs: list[F32],
    cont: F32 | None = None,
    static: F32 | None = None,
    state: F32 | None = None,
) -> tuple[F32, F32]:
    """The outputs of all steps and the last h; blobs are W, b (, the static weight), U, V, c."""
    time, batch = x.shape[:2]
    weight, bias, *more, hidden, out, shift = (blob.astype(np.float64) for blob in blobs)
    h = np.zeros((batch, len(hidden))) if state is None else state.astype(np.float64)
    shown = []
    for step in range(time):
        goes_on = np.ones((batch, 1)) if cont is None else cont[step][:, None]
        sums = x[step] @ weight.T + bias + (h * goes_on) @ hidden.T
        if static is not None:
            sums = sums + static @ more[0].T
        h = np.tanh(sums)
        shown.append(np.tanh(h @ out.T + shift))
    return np.array(shown, np.float32), np.asarray(h, np.float32)


@pytest.fixture
def blobs(rng: np.random.Generator) -> list[F32]:
    square = (OUTPUTS, OUTPUTS)
    shapes = [(OUTPUTS, INPUTS), (OUTPUTS,), square, square, (OUTPUTS,)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.fixture
def bottoms(rng: np.random.Generator) -> Callable[[int], dict[str, F32]]:
    """Sequences, and where they begin: at the first step and at one in the middle."""

    def make(batch: int) -> dict[str, F32]:
        cont = np.ones((TIME, batch), np.float32)
        cont[0] = cont[2] = 0
        cont[3, -1] = 0
        return {"data": rng.normal(size=(TIME, batch, INPUTS)).astype(np.float32), "cont": cont}

    return make


def close(found: F32, expected: F32) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_whole_sequence(
    infer: Run, bottoms: Callable[[int], dict[str, F32]], blobs: list[F32], batch: int
) -> None:
    x = bottoms(batch)["data"]
    found = infer(layer(), x, {"rnn": blobs}, {"data": SHAPES["data"]})["o"]
    close(found, rnn(x, blobs)[0])


@pytest.mark.parametrize("batch", [1, 3])
def test_a_sequence_begins_where_cont_is_0(
    infer: Run, bottoms: Callable[[int], dict[str, F32]], blobs: list[F32], batch: int
) -> None:
    inputs = bottoms(batch)
    found = infer(layer("data cont"), inputs, {"rnn": blobs}, {k: SHAPES[k] for k in inputs})["o"]
    close(found, rnn(inputs["data"], blobs, inputs["cont"])[0])


def test_a_static_input_and_given_states(
    infer: Run,
    bottoms: Callable[[int], dict[str, F32]],
    blobs: list[F32],
    rng: np.random.Generator,
) -> None:
    inputs = bottoms(2)
    inputs["cont"][0] = 1
    static = rng.normal(size=(2, STATIC)).astype(np.float32)
    state = rng.normal(size=(1, 2, OUTPUTS)).astype(np.float32)
    weight = rng.normal(size=(OUTPUTS, STATIC)).astype(np.float32)
    own = [*blobs[:2], weight, *blobs[2:]]
    text = layer("data cont static h0", "o hT", "expose_hidden: true")
    every = {**inputs, "static": static, "h0": state}
    found = infer(text, every, {"rnn": own}, SHAPES)
    expected, last = rnn(inputs["data"], own, inputs["cont"], static, state[0])
    close(found["o"], expected)
    close(found["hT"][0], last)


def test_other_blobs_are_explained(
    problems: Callable[..., list[str]],
    bottoms: Callable[[int], dict[str, F32]],
    blobs: list[F32],
) -> None:
    (found,) = problems(layer(), bottoms(1)["data"], {"rnn": blobs[:4]})
    assert "expected 5 weight blobs" in found
