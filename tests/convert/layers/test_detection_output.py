from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
COUNT, CELLS = 7, (4, 5)
PRIORS = 2 * CELLS[0] * CELLS[1]
PRIOR_LAYER = """
layer { name: "priors" type: "PriorBox" bottom: "map" bottom: "image" top: "priors"
        prior_box_param { min_size: 20 min_size: 40 flip: false clip: false offset: 0.5
                          variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
"""


def layers(parameters: str) -> str:
    return (
        PRIOR_LAYER
        + f"""
layer {{ name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors"
         top: "out" detection_output_param {{ {parameters} }} }}
"""
    )


def inputs(classes: int, location_classes: int = 1, batch: int = COUNT) -> dict[str, F32]:
    """Random codes, and scores that are all different: what's first among equals is up to Caffe."""
    random = np.random.default_rng(classes * 10 + location_classes)
    scores = random.permutation(batch * PRIORS * classes) / (batch * PRIORS * classes)
    return {
        "loc": random.normal(0, 1.5, (batch, PRIORS * location_classes * 4)).astype(np.float32),
        "conf": scores.reshape(batch, -1).astype(np.float32),
        "map": np.zeros((batch, 4, *CELLS), np.float32),
        "image": np.zeros((batch, 3, 64, 96), np.float32),
    }


def by_label(rows: F32) -> F32:
    """Rows ordered by image, label, and descending score, as Caffe writes them."""
    return rows[np.lexsort((-rows[:, 2], rows[:, 1], rows[:, 0]))]


def opencv_rows(blob: F32) -> F32:
    """OpenCV's answers [image, 1, n, 7] without the zeros that fill them, as Caffe's rows."""
    parts = []
    for image, rows in enumerate(blob[:, 0]):
        found = rows[(rows[:, 1:] != 0).any(axis=1)].copy()
        found[:, 0] = image
        parts.append(found)
    return by_label(np.concatenate(parts))


def reference(
    feed: dict[str, F32],
    priors: F32,
    *,
    code_type: str = "CENTER_SIZE",
    classes: int = 2,
    share: bool = True,
    in_target: bool = False,
    background: int = 0,
    threshold: float = 0.5,
    nms_threshold: float = 0.3,
    top_k: int = 10_000,
    keep_top_k: int = 10_000,
) -> F32:
    """`detection_output_layer.cpp`, box by box."""

    def decode(code: F32, index: int) -> list[float]:
        x1, y1, x2, y2 = (float(number) for number in priors[0, 0, 4 * index : 4 * index + 4])
        variance = [1.0] * 4 if in_target else list(priors[0, 1, 4 * index : 4 * index + 4])
        t = [float(a) * float(b) for a, b in zip(code, variance, strict=True)]
        width, height = x2 - x1, y2 - y1
        if code_type == "CORNER":
            return [x1 + t[0], y1 + t[1], x2 + t[2], y2 + t[3]]
        if code_type == "CORNER_SIZE":
            return [x1 + t[0] * width, y1 + t[1] * height, x2 + t[2] * width, y2 + t[3] * height]
        x, y = t[0] * width + (x1 + x2) / 2, t[1] * height + (y1 + y2) / 2
        half_width, half_height = np.exp(t[2]) * width / 2, np.exp(t[3]) * height / 2
        return [x - half_width, y - half_height, x + half_width, y + half_height]

    def size(box: list[float]) -> float:
        if box[2] < box[0] or box[3] < box[1]:
            return 0.0
        return (box[2] - box[0]) * (box[3] - box[1])

    def overlap(a: list[float], b: list[float]) -> float:
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (size(a) + size(b) - width * height)

    rows = []
    for image in range(len(feed["loc"])):
        codes = feed["loc"][image].reshape(PRIORS, 1 if share else classes, 4)
        scores = feed["conf"][image].reshape(PRIORS, classes)
        kept: list[list[float]] = []
        for label in range(classes):
            if label == background:
                continue
            boxes = [decode(codes[i, 0 if share else label], i) for i in range(PRIORS)]
            order = [i for i in np.argsort(-scores[:, label]) if scores[i, label] > threshold]
            chosen: list[int] = []
            for i in order[:top_k]:
                if all(overlap(boxes[i], boxes[j]) <= nms_threshold for j in chosen):
                    chosen.append(int(i))
            kept += [[image, label, float(scores[i, label]), *boxes[i]] for i in chosen]
        kept.sort(key=lambda row: -row[2])
        rows += kept[:keep_top_k]
    return by_label(np.asarray(rows, np.float32).reshape(-1, 7))


def check(found: F32, expected: F32) -> None:
    """The same rows in the same order."""
    assert found.ndim == 4
    assert found.shape[:2] == (1, 1)
    rows = found[0, 0]
    np.testing.assert_array_equal(rows, by_label(rows))
    assert rows.shape == expected.shape
    np.testing.assert_allclose(rows, expected, atol=1e-5)


COMMON = "confidence_threshold: 0.5 nms_param { nms_threshold: 0.3 top_k: 400 } keep_top_k: 200"


@pytest.mark.parametrize(
    ("classes", "parameters"),
    [
        (2, f"code_type: CENTER_SIZE {COMMON}"),
        (2, f"code_type: CORNER {COMMON}"),
        (4, f"code_type: CENTER_SIZE {COMMON}"),
        (4, f"code_type: CENTER_SIZE {COMMON} share_location: false"),
        (4, f"code_type: CORNER {COMMON} share_location: false"),
        (2, f"code_type: CENTER_SIZE {COMMON} share_location: false"),
        (3, f"code_type: CENTER_SIZE {COMMON} background_label_id: 2"),
        (3, f"code_type: CENTER_SIZE {COMMON} background_label_id: 1"),
        (
            4,
            "code_type: CENTER_SIZE confidence_threshold: 0.2 keep_top_k: 9 "
            "nms_param { nms_threshold: 0.45 top_k: 6 }",
        ),
        (
            2,
            "code_type: CENTER_SIZE confidence_threshold: 0.2 keep_top_k: 5 "
            "nms_param { nms_threshold: 0.9 top_k: 12 }",
        ),
        (2, "code_type: CENTER_SIZE keep_top_k: 100 nms_param { nms_threshold: 0.3 }"),
        # Everything below the threshold but in one image of the batch, or in none.
        (2, f"code_type: CENTER_SIZE {COMMON.replace('0.5', '0.99')}"),
    ],
)
def test_detections_are_those_of_opencv(
    run: Run, opencv: Run, classes: int, parameters: str
) -> None:
    location_classes = classes if "share_location: false" in parameters else 1
    background = "" if "background" in parameters else "background_label_id: 0"
    share = "" if "share_location" in parameters else "share_location: true"
    text = layers(f"num_classes: {classes} {background} {share} {parameters}")
    feed = inputs(classes, location_classes)
    expected = opencv_rows(opencv(text, feed)["out"])
    assert len(expected)
    check(run(text, feed)["out"], expected)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("in_target", [True, False])
@pytest.mark.parametrize("code_type", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
def test_detections_follow_caffes_formulas(
    run: Run, code_type: str, in_target: bool, share: bool
) -> None:
    classes = 3
    feed = inputs(classes, 1 if share else classes)
    if in_target:
        feed["loc"] *= np.float32(0.2)
    text = layers(
        f"num_classes: {classes} code_type: {code_type} {COMMON} "
        f"variance_encoded_in_target: {str(in_target).lower()} share_location: {str(share).lower()}"
    )
    found = run(text, feed)["out"]
    priors = run(PRIOR_LAYER, {name: feed[name] for name in ("map", "image")})["priors"]
    expected = reference(
        feed,
        priors,
        code_type=code_type,
        classes=classes,
        share=share,
        in_target=in_target,
        top_k=400,
        keep_top_k=200,
    )
    check(found, expected)


def test_without_a_background_every_class_counts(run: Run) -> None:
    feed = inputs(2)
    text = layers(f"num_classes: 2 background_label_id: -1 code_type: CENTER_SIZE {COMMON}")
    priors = run(PRIOR_LAYER, {name: feed[name] for name in ("map", "image")})["priors"]
    found = run(text, feed)["out"]
    assert set(found[0, 0, :, 1]) == {0, 1}
    check(found, reference(feed, priors, background=-1))


def test_without_a_threshold_negative_scores_count_too(run: Run) -> None:
    feed = inputs(2)
    feed["conf"] -= 2
    text = layers("num_classes: 2 code_type: CENTER_SIZE nms_param { nms_threshold: 0.3 }")
    priors = run(PRIOR_LAYER, {name: feed[name] for name in ("map", "image")})["priors"]
    check(run(text, feed)["out"], reference(feed, priors, threshold=-np.inf))


def test_boxes_with_swapped_corners_suppress_nothing(run: Run) -> None:
    feed = inputs(2)
    feed["loc"] = np.tile(np.asarray([9, 9, -9, -9], np.float32), (COUNT, PRIORS))
    text = layers(
        "num_classes: 2 code_type: CORNER confidence_threshold: 0.5 "
        "nms_param { nms_threshold: 0.3 }"
    )
    found = run(text, feed)["out"]
    above = (feed["conf"].reshape(COUNT, PRIORS, 2)[..., 1] > 0.5).sum()
    assert found.shape == (1, 1, above, 7)


def test_a_score_on_the_threshold_is_not_above_it(run: Run) -> None:
    feed = inputs(2, batch=1)
    feed["conf"] = np.full_like(feed["conf"], 0.5)
    text = layers(f"num_classes: 2 code_type: CENTER_SIZE {COMMON}")
    assert run(text, feed)["out"].shape == (1, 1, 0, 7)


def test_of_equal_scores_the_lowest_index_wins(run: Run) -> None:
    feed = inputs(2, batch=1)
    feed["loc"][:] = 0
    feed["conf"] = np.full_like(feed["conf"], 0.75)
    text = layers(
        "num_classes: 2 code_type: CENTER_SIZE confidence_threshold: 0.5 keep_top_k: 3 "
        "nms_param { nms_threshold: 0.9 top_k: 5 }"
    )
    priors = run(PRIOR_LAYER, {name: feed[name] for name in ("map", "image")})["priors"]
    found = run(text, feed)["out"]
    np.testing.assert_allclose(found[0, 0, :, 3:], priors[0, 0].reshape(-1, 4)[:3], atol=1e-6)


def test_clip_cuts_boxes_to_the_image(run: Run) -> None:
    text = layers(f"num_classes: 2 code_type: CENTER_SIZE clip: true {COMMON}")
    boxes = run(text, inputs(2))["out"][0, 0, :, 3:]
    assert boxes.min() == 0
    assert boxes.max() == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("num_classes: 0", "num_classes must be 1 to 100000, background included"),
        ("num_classes: 4000000000", "num_classes must be 1 to 100000, background included"),
        ("num_classes: 1", "the only class is the background: num_classes must be at least 2"),
        (
            "num_classes: 2 keep_top_k: 0",
            "keep_top_k is 0, which keeps nothing: give a positive number",
        ),
        (
            "num_classes: 2 nms_param { top_k: 0 }",
            "top_k is 0, which keeps nothing: give a positive number",
        ),
        (
            "num_classes: 2 nms_param { eta: 0.9 }",
            "eta is 0.9 (adaptive NMS), which ONNX can't express",
        ),
        ("num_classes: 2 nms_param { nms_threshold: -1 }", "nms_threshold must not be negative"),
        ("num_classes: 2 normalized_bbox: false", "boxes must be fractions"),
        ("num_classes: 2 confidence_threshold: nan", "confidence_threshold must be a number"),
        (
            "num_classes: 3",
            "40 priors need 120 confidence values for each image (3 for each prior)",
        ),
        (
            "num_classes: 2 share_location: false",
            "40 priors need 320 location values for each image",
        ),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]], parameters: str, message: str
) -> None:
    assert any(message in problem for problem in problems(layers(parameters), inputs(2)))


def test_priors_must_be_known_before_the_network_runs(
    problems: Callable[..., list[str]],
) -> None:
    text = """layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf"
        bottom: "map" top: "out" detection_output_param { num_classes: 2 } }"""
    assert problems(text, inputs(2)) == ["the third bottom must come from PriorBox layers only"]
