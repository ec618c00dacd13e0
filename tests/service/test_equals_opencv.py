"""The service finds the same boxes as OpenCV with the caffemodel, on real photographs.

`make test` compares every third photograph, and `make soak` all of them.
OpenCV looks once at each, and so does the service here. `tests/detection/test_second_look.py`
compares the network of the second look with OpenCV.
"""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from detection.images import decode
from detection.letterbox import letterbox
from geometry.arrays import F32
from geometry.boxes import clip, iou
from geometry.letterbox import Letterbox
from store import model as models

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "model_store" / "sfd-640-mobilenetv2-mod2"
# The thresholds of the prototxt's own DetectionOutput layer: all that Caffe would return.
MIN_SCORE, NMS_IOU = 0.05, 0.3
SCORE_TOLERANCE, LEAST_IOU = 1e-3, 0.99
# Two float32 implementations may decide a comparison differently if its sides are this close.
EDGE_IOU = 2e-3
CLIENTS = 16

Detections = tuple[F32, F32]


@pytest.fixture(scope="module")
def image_files(shared: Path) -> list[Path]:
    rows = (shared / "faces" / "test.jsonl").read_text().splitlines()
    return [shared / "faces" / json.loads(row)["image"] for row in rows]


@pytest.fixture(scope="module")
def expected() -> Callable[[Path], Detections]:
    """Boxes [N, 4] in pixels and scores [N] of a photograph, by OpenCV. Each is computed once."""
    model = models.load(FOLDER)
    network = cv2.dnn.readNetFromCaffe(str(model.deploy), str(model.weights))
    return cache(partial(opencv_detections, network, model))


def opencv_detections(network: Any, model: models.Model, file: Path) -> Detections:
    mean = model.input.mean_rgb
    image = decode(file.read_bytes(), max_pixels=10**8, background=mean)
    pixels, placement = letterbox(image, model.input.width, model.input.height, 3, mean)
    blob = pixels[:, :, ::-1].astype(np.float32) - np.asarray(model.input.mean, np.float32)
    network.setInput(np.ascontiguousarray(blob.transpose(2, 0, 1)[None]))
    rows = np.asarray(network.forward(), np.float32).reshape(-1, 7)
    rows = rows[rows[:, 1] == 1]
    return in_pixels(rows[:, 3:], rows[:, 2], placement, image)


def in_pixels(boxes: F32, scores: F32, placement: Letterbox, image: Image.Image) -> Detections:
    pixels = clip(placement.to_image(boxes), image.width, image.height).astype(np.float32)
    inside = (pixels[:, 2] > pixels[:, 0]) & (pixels[:, 3] > pixels[:, 1])
    return pixels[inside], scores[inside]


@pytest.mark.parametrize(
    ("max_batch", "every"), [(1, 6), (8, 3), pytest.param(8, 1, marks=pytest.mark.soak)]
)
def test_the_service_finds_the_faces_that_opencv_finds_under_16_clients(
    max_batch: int,
    every: int,
    image_files: list[Path],
    expected: Callable[[Path], Detections],
    start_real_server: Callable[..., AbstractContextManager[Any]],
    tmp_path: Path,
) -> None:
    environment = {"SFD_MODEL_STORE": str(FOLDER.parent), "SFD_MAX_BATCH": str(max_batch),
                   "SFD_REQUEST_TIMEOUT_S": "120", "SFD_TARGET_WAIT_S": "120",
                   "SFD_SECOND_LOOK": "false"}  # fmt: skip
    with start_real_server(tmp_path, environment) as server:
        answers = ask_for_all(server.url, image_files[::every])
    if max_batch > 1:
        assert max(answer["batch_size"] for answer in answers) == max_batch
    else:
        assert {answer["batch_size"] for answer in answers} == {1}

    total = edges = 0
    for file, answer in zip(image_files[::every], answers, strict=True):
        found, wanted = detections_of(answer), expected(file)
        matched, left_found, left_wanted = match(found, wanted)
        total += matched + len(left_wanted)
        unexplained = without_reason((found, left_found), (wanted, left_wanted))
        assert not unexplained, f"{file.name}: {unexplained} boxes without a partner"
        edges += len(left_found) + len(left_wanted)
    print(f"\nmax_batch {max_batch}: {total} boxes, {edges} without a partner, each on an edge")
    assert total > 1000 / every
    assert edges <= total * 0.001


def ask_for_all(url: str, image_files: list[Path]) -> list[dict[str, Any]]:
    """Post every photograph, 16 at a time; the answers in their order."""
    local = threading.local()
    clients: list[httpx.Client] = []

    def ask(file: Path) -> dict[str, Any]:
        if not hasattr(local, "client"):
            local.client = httpx.Client(base_url=url, timeout=120)
            clients.append(local.client)
        query = {"min_score": MIN_SCORE, "nms_iou": NMS_IOU}
        answer = local.client.post("/detect", params=query, content=file.read_bytes())
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(ask, image_files))
    finally:
        for client in clients:
            client.close()


def detections_of(answer: dict[str, Any]) -> Detections:
    boxes = [
        (b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"])
        for b in (face["box"] for face in answer["faces"])
    ]
    scores = [face["score"] for face in answer["faces"]]
    return np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(scores, np.float32)


def match(found: Detections, wanted: Detections) -> tuple[int, list[int], list[int]]:
    """One to one, IoU >= 0.99 and score within 1e-3: (pairs, indices left, indices left)."""
    overlaps = iou(found[0], wanted[0])
    # A score is written with four digits: allow for half of the last one.
    same = (overlaps >= LEAST_IOU) & (
        np.abs(found[1][:, None] - wanted[1][None, :]) <= SCORE_TOLERANCE + 5e-5
    )
    pairs: dict[int, int] = {}
    for i, j in sorted(zip(*np.nonzero(same), strict=True), key=lambda p: -overlaps[p]):
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    left_found = [i for i in range(len(found[1])) if i not in pairs]
    return len(pairs), left_found, sorted(set(range(len(wanted[1]))) - set(pairs.values()))


def without_reason(one: tuple[Detections, list[int]], other: tuple[Detections, list[int]]) -> int:
    """The number of unmatched boxes that rounding does not explain.

    A box is explained if one of its comparisons is too close to call, or if an explained box of the
    other side, with a better score, suppresses it there.
    """
    explained = [{i for i in left if on_an_edge(i, side)} for side, left in (one, other)]
    for mine, theirs in ((0, 1), (1, 0)):
        (side, left), (across, _) = (one, other) if mine == 0 else (other, one)
        for i in left:
            better = [j for j in explained[theirs] if across[1][j] >= side[1][i] - SCORE_TOLERANCE]
            if (iou(side[0][[i]], across[0][better]) > NMS_IOU - EDGE_IOU).any():
                explained[mine].add(i)
    return len(one[1]) + len(other[1]) - sum(map(len, explained))


def on_an_edge(index: int, side: Detections) -> bool:
    """Whether a comparison that is too close to call may keep a box on one side only.

    Its score is at the threshold, or its overlap with a better box is at the NMS threshold.
    """
    boxes, scores = side
    if scores[index] - MIN_SCORE <= SCORE_TOLERANCE:
        return True
    overlaps = iou(boxes[index : index + 1], boxes)[0]
    overlaps[index] = 0
    better = scores >= scores[index] - SCORE_TOLERANCE
    return bool((np.abs(overlaps[better] - NMS_IOU) <= EDGE_IOU).any())
