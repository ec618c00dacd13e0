"""LSTM and Lstm against Caffe's formula: OpenCV takes other bottoms."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from convert.translate import TranslationError
from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
TIME, INPUTS, OUTPUTS, STATIC = 5, 6, 4, 3
BATCH_SHAPES = {"data": (TIME, "batch", INPUTS), "cont": (TIME, "batch")}


def layer(
    bottoms: str = "data", tops: str = "h", parameter: str = "", outputs: int = OUTPUTS
) -> str:
    names = "".join(f'bottom: "{name}" ' for name in bottoms.split())
    names += "".join(f'top: "{name}" ' for name in tops.split())
    return f"""layer {{ name: "lstm" type: "LSTM" {names}
                        recurrent_param {{ num_output: {outputs} {parameter} }} }}"""


def lstm(
    x: F32,
    blobs: list[F32],
    cont: F32 | None = None,
    static: F32 | None = None,
    states: Sequence[F32] = (),
) -> tuple[F32, F32, F32]:
    """h of all steps and the last h and c; blobs are W, b (, the static weight), U."""
    time, batch = x.shape[:2]
    weight, bias, *more, hidden = (blob.astype(np.float64) for blob in blobs)
    count = hidden.shape[1]
    h, c = [state.astype(np.float64) for state in states] or [np.zeros((batch, count))] * 2
    shown = []
    for step in range(time):
        goes_on = np.ones((batch, 1)) if cont is None else cont[step][:, None]
        gates = x[step].reshape(batch, -1) @ weight.T + bias + (h * goes_on) @ hidden.T
        if static is not None:
            gates = gates + static @ more[0].T
        i, f, o = (1 / (1 + np.exp(-part)) for part in np.split(gates, 4, axis=1)[:3])
        g = np.tanh(gates[:, 3 * count :])
        c = f * goes_on * c + i * g
        h = o * np.tanh(c)
        shown.append(h)
    return np.array(shown, np.float32), np.asarray(h, np.float32), np.asarray(c, np.float32)


@pytest.fixture
def blobs(rng: np.random.Generator) -> list[F32]:
    shapes = [(4 * OUTPUTS, INPUTS), (4 * OUTPUTS,), (4 * OUTPUTS, OUTPUTS)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.fixture
def static_blobs(blobs: list[F32], rng: np.random.Generator) -> list[F32]:
    static = rng.normal(size=(4 * OUTPUTS, STATIC)).astype(np.float32)
    return [*blobs[:2], static, blobs[2]]


@pytest.fixture
def sequences(rng: np.random.Generator) -> Callable[[int], F32]:
    """Sequences [time, batch, inputs]."""

    def make(batch: int) -> F32:
        return rng.normal(size=(TIME, batch, INPUTS)).astype(np.float32)

    return make


def beginnings(batch: int) -> F32:
    """Sequences that begin at the first step and in the middle, at another step in each row."""
    cont = np.ones((TIME, batch), np.float32)
    cont[0] = 0
    for row in range(batch):
        cont[1 + row % (TIME - 1), row] = 0
    return cont


def close(found: F32, expected: F32) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_without_cont_a_sequence_runs_from_the_first_step_to_the_last(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32], batch: int
) -> None:
    x = sequences(batch)
    found = infer(layer(), x, {"lstm": blobs}, {"data": BATCH_SHAPES["data"]})["h"]
    close(found, lstm(x, blobs)[0])


def test_the_time_may_be_open_too(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32]
) -> None:
    x = sequences(2)
    close(infer(layer(), x, {"lstm": blobs}, {"data": ("time", 2, INPUTS)})["h"], lstm(x, blobs)[0])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("begin", [beginnings, lambda batch: np.ones((TIME, batch), np.float32)])
def test_a_sequence_begins_where_cont_is_0(
    infer: Run,
    sequences: Callable[[int], F32],
    blobs: list[F32],
    batch: int,
    begin: Callable[[int], F32],
) -> None:
    x, cont = sequences(batch), begin(batch)
    inputs = {"data": x, "cont": cont}
    found = infer(layer("data cont"), inputs, {"lstm": blobs}, BATCH_SHAPES)["h"]
    close(found, lstm(x, blobs, cont)[0])


def test_cont_of_one_sequence_stands_for_all(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32]
) -> None:
    x, cont = sequences(3), beginnings(1)
    shapes = BATCH_SHAPES | {"cont": (TIME, 1)}
    found = infer(layer("data cont"), {"data": x, "cont": cont}, {"lstm": blobs}, shapes)["h"]
    close(found, lstm(x, blobs, np.repeat(cont, 3, axis=1))[0])


def test_more_axes_of_the_input_are_one(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32]
) -> None:
    x = sequences(3).reshape(TIME, 3, 2, 3)
    shapes = {"data": (TIME, "batch", 2, 3)}
    close(infer(layer(), x, {"lstm": blobs}, shapes)["h"], lstm(x, blobs)[0])


@pytest.mark.parametrize("batch", [1, 3])
def test_a_static_input_is_added_at_each_step(
    infer: Run,
    sequences: Callable[[int], F32],
    static_blobs: list[F32],
    rng: np.random.Generator,
    batch: int,
) -> None:
    static = rng.normal(size=(batch, STATIC)).astype(np.float32)
    inputs = {"data": sequences(batch), "cont": beginnings(batch), "static": static}
    found = infer(layer("data cont static"), inputs, {"lstm": static_blobs}, BATCH_SHAPES)["h"]
    close(found, lstm(inputs["data"], static_blobs, inputs["cont"], static)[0])


@pytest.mark.parametrize("with_static", [False, True])
def test_expose_hidden_takes_states_and_shows_them(
    infer: Run,
    sequences: Callable[[int], F32],
    static_blobs: list[F32],
    blobs: list[F32],
    rng: np.random.Generator,
    with_static: bool,
) -> None:
    inputs = {"data": sequences(2), "cont": beginnings(2)}
    inputs["cont"][0] = 1
    static = rng.normal(size=(2, STATIC)).astype(np.float32) if with_static else None
    if static is not None:
        inputs["static"] = static
    states = rng.normal(size=(2, 1, 2, OUTPUTS)).astype(np.float32)
    inputs |= {"h0": states[0], "c0": states[1]}
    shapes = BATCH_SHAPES | dict.fromkeys(("h0", "c0"), (1, "batch", OUTPUTS))
    own = static_blobs if with_static else blobs
    text = layer(" ".join(inputs), "h hT cT", "expose_hidden: true")
    found = infer(text, inputs, {"lstm": own}, shapes)
    h, last_h, last_c = lstm(inputs["data"], own, inputs["cont"], static, list(states[:, 0]))
    close(found["h"], h)
    close(found["hT"][0], last_h)
    close(found["cT"][0], last_c)


def test_two_layers_have_steps_of_their_own(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32], rng: np.random.Generator
) -> None:
    x, cont = sequences(2), beginnings(2)
    second = [
        rng.normal(size=shape).astype(np.float32)
        for shape in [(4 * OUTPUTS, OUTPUTS), (4 * OUTPUTS,), (4 * OUTPUTS, OUTPUTS)]
    ]
    text = layer("data cont") + layer("h cont", "g").replace('"lstm"', '"lstm2"')
    inputs = {"data": x, "cont": cont}
    found = infer(text, inputs, {"lstm": blobs, "lstm2": second}, BATCH_SHAPES)["g"]
    close(found, lstm(lstm(x, blobs, cont)[0], second, cont)[0])


def test_a_whole_sequence_is_one_operator(
    to_onnx: Callable[..., onnx.ModelProto], sequences: Callable[[int], F32], blobs: list[F32]
) -> None:
    model = to_onnx(layer(), sequences(1), {"lstm": blobs}, {"data": BATCH_SHAPES["data"]})
    assert [node.op_type for node in model.graph.node] == ["LSTM", "Squeeze"]


@pytest.mark.parametrize(
    ("bottoms", "tops", "parameter", "outputs", "message"),
    [
        ("data", "h", "", 0, "num_output is missing"),
        ("data cont", "h hT", "", 4, "expected 1 tops, found 2"),
        ("data", "h hT cT", "expose_hidden: true", 4, "found 1 bottoms"),
        ("data long", "h", "", 4, "expected cont of shape [5, batch]"),
        ("data", "h", "", 5, "weight blob 0: expected shape [20, 6], found [16, 6]"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    sequences: Callable[[int], F32],
    blobs: list[F32],
    bottoms: str,
    tops: str,
    parameter: str,
    outputs: int,
    message: str,
) -> None:
    every = {
        "data": sequences(1).transpose(1, 0, 2),
        "cont": np.ones((1, TIME), np.float32),
        "long": np.ones((1, TIME, 1), np.float32),
    }
    swap = "".join(
        f'layer {{ name: "{name}_" type: "Permute" bottom: "{name}_in" top: "{name}" '
        f"permute_param {{ order: 1 order: 0 }} }}"
        for name in bottoms.split()
    )
    inputs = {f"{name}_in": every[name] for name in bottoms.split()}
    text = swap + layer(bottoms, tops, parameter, outputs)
    found = problems(text, inputs, {"lstm": blobs})
    assert message in found[0]


ROWS_SHAPES = [
    [(4 * OUTPUTS, INPUTS), (4 * OUTPUTS, OUTPUTS), (4 * OUTPUTS,)],
    [(1, 4, OUTPUTS, INPUTS), (1, 4, OUTPUTS, OUTPUTS), (1, 1, 4, OUTPUTS)],
]


def rows_layer(bottoms: str = "data", parameter: str = "", field: str = "lstm_param") -> str:
    names = "".join(f'bottom: "{name}" ' for name in bottoms.split())
    return f"""layer {{ name: "lstm" type: "Lstm" {names} top: "h"
                        {field} {{ num_output: {OUTPUTS} {parameter} }} }}"""


@pytest.mark.parametrize("shapes", ROWS_SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_lstm_of_rows(
    infer: Run,
    sequences: Callable[[int], F32],
    blobs: list[F32],
    shapes: list[tuple[int, ...]],
    batch: int,
) -> None:
    x = sequences(batch)
    order = [blobs[0], blobs[2], blobs[1]]
    own = [blob.reshape(shape) for blob, shape in zip(order, shapes, strict=True)]
    text = rows_layer(parameter=f"batch_size: {batch}")
    found = infer(text, x.reshape(-1, INPUTS), {"lstm": own})["h"]
    close(found, lstm(x, blobs)[0].reshape(-1, OUTPUTS))


@pytest.mark.parametrize("shape", [(TIME,), (TIME, 1), (TIME, 1, 1, 1)])
def test_lstm_of_rows_begins_where_clip_is_0(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32], shape: tuple[int, ...]
) -> None:
    x, cont = sequences(1), beginnings(1)
    clip = cont * np.float32(2)  # anything but 0 goes on
    own = [blobs[0], blobs[2], blobs[1]]
    inputs = {"data": x.reshape(-1, INPUTS), "clip": clip.reshape(shape)}
    found = infer(rows_layer("data clip"), inputs, {"lstm": own}, {"clip": shape})["h"]
    close(found, lstm(x, blobs, cont)[0].reshape(-1, OUTPUTS))


def test_a_clip_for_several_sequences_is_refused(
    problems: Callable[..., list[str]], sequences: Callable[[int], F32], blobs: list[F32]
) -> None:
    inputs = {"data": sequences(1).reshape(TIME, INPUTS), "clip": np.ones((TIME, 1), np.float32)}
    own = [blobs[0], blobs[2], blobs[1]]
    (found,) = problems(rows_layer("data clip", "batch_size: 5"), inputs, {"lstm": own})
    assert "leave clip out" in found


@pytest.mark.parametrize("batch", [1, 3])
def test_lstm_of_rows_takes_a_batch_on_the_second_axis(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32], batch: int
) -> None:
    x = sequences(batch)
    own = [blobs[0], blobs[2], blobs[1]]
    found = infer(rows_layer(), x, {"lstm": own}, {"data": BATCH_SHAPES["data"]})["h"]
    close(found, lstm(x, blobs)[0].reshape(-1, OUTPUTS))


@pytest.mark.parametrize("more", [(INPUTS,), (2, 3)])
def test_lstm_of_ctpn_keeps_the_axes_of_time_and_rows(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32], more: tuple[int, ...]
) -> None:
    x = sequences(3)
    own = [blobs[0], blobs[2], blobs[1]]
    shape = (TIME, 3, *more)
    found = infer(rows_layer(), x.reshape(shape), {"lstm": own}, {"data": shape})["h"]
    close(found, lstm(x, blobs)[0])


def test_a_row_of_several_axes_is_not_of_ctpn(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32]
) -> None:
    """The weights have a column for each of the 2 x 3 numbers of a row."""
    x = sequences(1)
    own = [blobs[0], blobs[2], blobs[1]]
    found = infer(rows_layer(), x.reshape(TIME, 2, 3), {"lstm": own}, {"data": (TIME, 2, 3)})["h"]
    close(found, lstm(x, blobs)[0].reshape(-1, OUTPUTS))


def test_a_clip_for_several_rows_of_ctpn_is_refused(
    problems: Callable[..., list[str]], sequences: Callable[[int], F32], blobs: list[F32]
) -> None:
    inputs = {"data": sequences(3), "clip": np.ones(TIME, np.float32)}
    own = [blobs[0], blobs[2], blobs[1]]
    shapes = {"data": (TIME, 3, INPUTS), "clip": (TIME,)}
    (found,) = problems(rows_layer("data clip"), inputs, {"lstm": own}, shapes)
    assert found.startswith("the bottom has 3 sequences")
    assert "leave clip out" in found


def test_the_first_version_has_its_parameters_in_another_field(
    infer: Run, sequences: Callable[[int], F32], blobs: list[F32]
) -> None:
    x = sequences(1)
    text = rows_layer(parameter="bias_term: false", field="inner_product_param")
    found = infer(text, x.reshape(-1, INPUTS), {"lstm": [blobs[0], blobs[2]]})["h"]
    without = [blobs[0], np.zeros_like(blobs[1]), blobs[2]]
    close(found, lstm(x, without)[0].reshape(-1, OUTPUTS))


@pytest.mark.parametrize(
    ("parameter", "shapes", "message"),
    [
        ("batch_size: 0", {}, "batch_size must be at least 1"),
        ("batch_size: 2", {"data": (TIME, INPUTS)}, "batch_size is 2, which must divide the rows"),
    ],
)
def test_rows_that_do_not_fit_are_explained(
    to_onnx: Callable[..., Any],
    sequences: Callable[[int], F32],
    blobs: list[F32],
    parameter: str,
    shapes: dict[str, tuple[int, ...]],
    message: str,
) -> None:
    x = sequences(1).reshape(-1, INPUTS)
    with pytest.raises(TranslationError, match=message):
        to_onnx(rows_layer(parameter=parameter), x, {"lstm": blobs}, shapes)
