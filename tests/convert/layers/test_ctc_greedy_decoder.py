"""CTCGreedyDecoder against its formula: OpenCV has no such layer."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
TIME, CLASSES = 12, 4
SHAPES = {"data": (TIME, "batch", CLASSES), "going": (TIME, "batch")}


def layer(parameter: str = "", tops: str = "words", bottoms: str = "data going") -> str:
    names = "".join(f'bottom: "{name}" ' for name in bottoms.split())
    names += "".join(f'top: "{name}" ' for name in tops.split())
    return f"""layer {{ name: "ctc" type: "CTCGreedyDecoder" {names}
                        ctc_decoder_param {{ {parameter} }} }}"""


def ctc_greedy_decoder(
    scores: F32, going: F32, *, blank: int = CLASSES - 1, merge: bool = True
) -> tuple[F32, F32]:
    """The best classes without blanks and repeats, and minus the sum of the best scores."""
    time, batch = scores.shape[:2]
    words, totals = np.full((batch, time), -1, np.float32), np.zeros(batch, np.float32)
    for n in range(batch):
        before, length = -1, 0
        for step in range(time):
            best = int(scores[step, n].argmax())
            totals[n] -= scores[step, n, best]
            if best != blank and not (merge and best == before):
                words[n, length] = best
                length += 1
            before = best
            if step + 1 == time or going[step + 1, n] == 0:
                break
    return words[:, :, None, None], totals[:, None, None, None]


@pytest.fixture
def bottoms(rng: np.random.Generator) -> Callable[[int], dict[str, F32]]:
    """Scores with equal ones among them, and sequences of several lengths."""

    def make(batch: int) -> dict[str, F32]:
        going = np.ones((TIME, batch), np.float32)
        going[0] = 0
        for n in range(1, batch):
            going[TIME - 4 * n :, n] = 0
            going[TIME - 1, n] = 1  # what is behind the end doesn't count
        scores = rng.integers(0, 4, size=(TIME, batch, CLASSES)).astype(np.float32)
        return {"data": scores, "going": going}

    return make


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("blank", [-1, 0, 2])
def test_is_the_layers_formula(
    infer: Run,
    bottoms: Callable[[int], dict[str, F32]],
    batch: int,
    merge: bool,
    blank: int,
) -> None:
    inputs = bottoms(batch)
    text = layer(f"blank_index: {blank} ctc_merge_repeated: {str(merge).lower()}", "words scores")
    found = infer(text, inputs, shapes=SHAPES)
    words, scores = ctc_greedy_decoder(*inputs.values(), blank=blank % CLASSES, merge=merge)
    np.testing.assert_array_equal(found["words"], words)
    np.testing.assert_allclose(found["scores"], scores)
    assert (words >= 0).any()


def test_the_scores_may_be_left_out_and_the_time_open(
    infer: Run, bottoms: Callable[[int], dict[str, F32]]
) -> None:
    inputs = bottoms(2)
    shapes = {"data": ("time", 2, CLASSES), "going": ("time", 2)}
    found = infer(layer(), inputs, shapes=shapes)["words"]
    np.testing.assert_array_equal(found, ctc_greedy_decoder(*inputs.values())[0])


def test_indicators_of_one_sequence_stand_for_all(
    infer: Run, bottoms: Callable[[int], dict[str, F32]]
) -> None:
    inputs = bottoms(3)
    inputs["going"] = inputs["going"][:, 1:2]
    found = infer(layer(tops="words scores"), inputs, shapes=SHAPES | {"going": (TIME, 1)})
    words, scores = ctc_greedy_decoder(inputs["data"], np.repeat(inputs["going"], 3, axis=1))
    np.testing.assert_array_equal(found["words"], words)
    np.testing.assert_allclose(found["scores"], scores)


@pytest.mark.parametrize(
    ("names", "shape", "message"),
    [
        ("data going targets", (TIME, 1), "the third bottom, the targets"),
        ("data going", (TIME + 1, 2), "expected scores of shape [steps, batch, classes]"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    bottoms: Callable[[int], dict[str, F32]],
    names: str,
    shape: tuple[int, ...],
    message: str,
) -> None:
    inputs = bottoms(1) | {"going": np.ones(shape, np.float32)}
    inputs |= {"targets": np.ones((TIME, 1), np.float32)} if "targets" in names else {}
    (found,) = problems(layer(bottoms=names), inputs)
    assert message in found
