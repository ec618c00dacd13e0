"""Proposal against the C++ layer's formula: OpenCV orders and pads its rois otherwise."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from convert.layers.proposal import anchor_boxes
from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
RATIOS, SCALES = (0.5, 1, 2), (2, 4)
ANCHORS = len(RATIOS) * len(SCALES)
STRIDE = 8


def layer(parameter: str = "", tops: Sequence[str] = ("rois", "scores")) -> str:
    fields = "".join(f" ratio: {ratio}" for ratio in RATIOS)
    fields += "".join(f" scale: {scale}" for scale in SCALES)
    return f"""layer {{ name: "p" type: "Proposal" bottom: "data" bottom: "deltas" bottom: "info"
                        {"".join(f'top: "{top}" ' for top in tops)}
                        proposal_param {{ feat_stride: {STRIDE} {fields} {parameter} }} }}"""


def proposal(
    scores: F32,
    deltas: F32,
    info: F32,
    *,
    least: float = 16,
    before: int = 6000,
    after: int = 300,
    overlap: float = 0.7,
) -> tuple[F32, F32]:
    """Rows of image, x1, y1, x2, y2 and their scores, box by box."""
    anchors = anchor_boxes(16, RATIOS, SCALES).astype(np.float64)
    rois, kept_scores = [], []
    for n in range(len(scores)):
        high, wide, scale_y = info[n, :3]
        scale_x = info[n, 3] if info.shape[1] > 3 else scale_y
        found = []
        for y, x, k in np.ndindex(*scores.shape[2:], ANCHORS):
            dx, dy, dw, dh = deltas[n, 4 * k : 4 * k + 4, y, x].astype(np.float64)
            x1, y1, x2, y2 = anchors[k] + np.array([x, y, x, y]) * STRIDE
            w, h = x2 - x1 + 1, y2 - y1 + 1
            cx, cy = x1 + 0.5 * w + dx * w, y1 + 0.5 * h + dy * h
            w, h = math.exp(dw) * w, math.exp(dh) * h
            box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
            box = np.clip(box, 0, [wide - 1, high - 1, wide - 1, high - 1])
            large = box[2] - box[0] + 1 >= least * scale_x and (
                box[3] - box[1] + 1 >= least * scale_y
            )
            found.append((float(scores[n, ANCHORS + k, y, x]) * large, box))
        found.sort(key=lambda candidate: -candidate[0])  # stable, as the layer's TopK
        chosen: list[tuple[float, F32]] = []
        for score, box in found[:before]:
            if len(chosen) < after and all(iou(box, other) <= overlap for _, other in chosen):
                chosen.append((score, box))
        rois += [[n, *box] for _, box in chosen]
        kept_scores += [score for score, _ in chosen]
    return np.array(rois, np.float32), np.array(kept_scores, np.float32)


def iou(a: F32, b: F32) -> float:
    """Intersection over union of boxes whose last pixel belongs to them."""
    wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
    high = min(a[3], b[3]) - max(a[1], b[1]) + 1
    both = max(wide, 0) * max(high, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return float(both / (sum(areas) - both))


def bottoms(rng: np.random.Generator, batch: int, numbers: int = 3) -> dict[str, F32]:
    """Scores that all differ, deltas, and im_info of images of 60 by 70 pixels and less."""
    size = (7, 8)
    scores = rng.permutation(batch * 2 * ANCHORS * 56).reshape(batch, -1, *size) + 1
    info = [[60 - n, 70 - 2 * n, 1 + 0.25 * n, 1 + 0.5 * n][:numbers] for n in range(batch)]
    return {
        "data": (scores / (scores.max() + 1)).astype(np.float32),
        "deltas": rng.normal(size=(batch, 4 * ANCHORS, *size)).astype(np.float32) / 3,
        "info": np.array(info, np.float32),
    }


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("numbers", [3, 4])
@pytest.mark.parametrize(
    ("parameter", "arguments"),
    [
        ("", {}),
        ("pre_nms_topn: 50 post_nms_topn: 7", {"before": 50, "after": 7}),
        ("nms_thresh: 0.3 min_size: 24", {"overlap": 0.3, "least": 24}),
    ],
)
def test_is_the_layers_formula(
    infer: Run,
    rng: np.random.Generator,
    batch: int,
    numbers: int,
    parameter: str,
    arguments: dict[str, Any],
) -> None:
    inputs = bottoms(rng, batch, numbers)
    found = infer(layer(parameter), inputs)
    rois, scores = proposal(*inputs.values(), **arguments)
    # Of score 0 there are many boxes, and the order of equals is no layer's promise.
    sure = scores > 0
    assert found["rois"].shape == rois.shape
    np.testing.assert_allclose(found["rois"][sure], rois[sure], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-5)
    assert sure.sum() > batch


def test_the_scores_may_be_left_out(infer: Run, rng: np.random.Generator) -> None:
    inputs = bottoms(rng, 1)
    both = infer(layer(), inputs)
    np.testing.assert_array_equal(infer(layer(tops=["rois"]), inputs)["rois"], both["rois"])


def test_the_anchors_are_those_of_faster_rcnn() -> None:
    """The nine of py-faster-rcnn's generate_anchors.py, as its comment lists them, moved by 1."""
    found = anchor_boxes(16, (0.5, 1, 2), (8, 16, 32))
    expected = [
        [-84, -40, 99, 55],
        [-176, -88, 191, 103],
        [-360, -184, 375, 199],
        [-56, -56, 71, 71],
        [-120, -120, 135, 135],
        [-248, -248, 263, 263],
        [-36, -80, 51, 95],
        [-80, -168, 95, 183],
        [-168, -344, 183, 359],
    ]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("anchor_scale: 3", "belongs to a different layer with this name"),
        ("ratio: 3", "8 anchors (ratios times scales) need scores of 16 channels"),
        ("nms_thresh: 1.5", "expected a number from 0 to 1"),
        ("post_nms_topn: 0", "must be at least 1"),
        ("ratio: -1 scale: 3", "must be finite"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]], rng: np.random.Generator, parameter: str, message: str
) -> None:
    (found,) = problems(layer(parameter), bottoms(rng, 1))
    assert message in found


def test_im_info_of_another_shape_is_explained(
    problems: Callable[..., list[str]], rng: np.random.Generator
) -> None:
    (found,) = problems(layer(), bottoms(rng, 1, 2))
    assert "expected im_info of shape [batch, 3]" in found


def test_regions_pass_through_pooling_and_classification(
    infer: Run, rng: np.random.Generator
) -> None:
    """A small Faster R-CNN from its features on: each region is pooled and classified alone."""
    text = (
        layer(tops=["rois"], parameter="post_nms_topn: 9")
        + """
        layer { name: "pool" type: "ROIPooling" bottom: "features" bottom: "rois" top: "pool"
                roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.125 } }
        layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
                inner_product_param { num_output: 5 } }
        layer { name: "relu" type: "ReLU" bottom: "fc" top: "relu" }
        layer { name: "prob" type: "Softmax" bottom: "relu" top: "prob" }"""
    )
    inputs = bottoms(rng, 2) | {"features": rng.normal(size=(2, 4, 7, 8)).astype(np.float32)}
    weight = rng.normal(size=(5, 24)).astype(np.float32)
    found = infer(text, inputs, {"fc": [weight, np.zeros(5)]})["prob"]
    rois = infer(layer(tops=["rois"], parameter="post_nms_topn: 9"), bottoms_only(inputs))["rois"]
    assert found.shape == (len(rois), 5) == (18, 5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    for index in (0, 17):
        image, *corners = rois[index]
        alone = {"data": inputs["features"][int(image)][None]}
        alone["rois"] = np.array([[0, *corners]], np.float32)
        pooled = infer(
            """layer { name: "pool" type: "ROIPooling" bottom: "data" bottom: "rois" top: "pool"
               roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.125 } }""",
            alone,
            shapes={"rois": ("regions", 5)},
        )["pool"].reshape(-1)
        exp = np.exp(np.maximum(weight @ pooled, 0))
        np.testing.assert_allclose(found[index], exp / exp.sum(), rtol=1e-4)


def bottoms_only(inputs: dict[str, F32]) -> dict[str, F32]:
    """The three bottoms of Proposal."""
    return {name: inputs[name] for name in ("data", "deltas", "info")}
