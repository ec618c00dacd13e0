"""The WIDER FACE protocol, against a plain transcription of the authors' MATLAB."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from training.data.wider import SUBSETS, Annotation
from training.evaluation import wider
from training.evaluation.curves import Detections

Box = Sequence[float]


def plain_protocol(
    found: Mapping[str, Detections], annotations: Sequence[Annotation], subset: str
) -> float:
    """evaluation.m, norm_score.m, boxoverlap.m and VOCap.m, line by line and loop by loop."""
    everything = [score for each in found.values() for score in each.scores]
    low, high = min(everything), max(everything)
    table = [[0, 0] for _ in range(1000)]
    total = 0
    for image in annotations:
        total += int(image.counted[subset].sum())
        if image.name not in found or not len(found[image.name].scores) or not len(image.faces):
            continue
        detections = found[image.name]
        rows = sorted(
            zip(detections.boxes.tolist(), detections.scores.tolist(), strict=True),
            key=lambda row: -row[1],
        )
        recall_list = [0] * len(image.faces)
        proposal_list = [1] * len(rows)
        pred_recall = [0] * len(rows)
        for h, (box, _) in enumerate(rows):
            shared = [plain_overlap(box, face.tolist()) for face in image.faces]
            best = max(shared)
            index = shared.index(best)
            if best >= 0.5:
                if not image.counted[subset][index]:
                    recall_list[index] = -1
                    proposal_list[h] = -1
                elif recall_list[index] == 0:
                    recall_list[index] = 1
            pred_recall[h] = recall_list.count(1)
        for t in range(1000):
            threshold = 1 - (t + 1) / 1000
            passing = [
                h for h, (_, score) in enumerate(rows) if (score - low) / (high - low) >= threshold
            ]
            if passing:
                table[t][0] += proposal_list[: passing[-1] + 1].count(1)
                table[t][1] += pred_recall[passing[-1]]
    recall = [0.0] + [hits / total for _, hits in table] + [1.0]
    precision = [0.0] + [hits / made if made else 0.0 for made, hits in table] + [0.0]
    for at in range(len(precision) - 2, -1, -1):
        precision[at] = max(precision[at], precision[at + 1])
    return sum((recall[at] - recall[at - 1]) * precision[at] for at in range(1, len(recall)))


def plain_overlap(box: Box, face: Box) -> float:
    x1, y1, x2, y2 = face[0], face[1], face[0] + face[2], face[1] + face[3]
    width = min(box[2], x2) - max(box[0], x1) + 1
    height = min(box[3], y2) - max(box[1], y1) + 1
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    return both / (area + (x2 - x1 + 1) * (y2 - y1 + 1) - both)


def random_run(seed: int) -> tuple[dict[str, Detections], list[Annotation]]:
    """Crowded images with faces found, missed, found twice, ignored, and false detections."""
    random = np.random.default_rng(seed)
    found, annotations = {}, []
    for number in range(12):
        count = int(random.integers(0, 9))
        faces = np.concatenate(
            [random.uniform(0, 80, (count, 2)), random.uniform(8, 40, (count, 2))], axis=1
        )
        counted = {name: random.random(count) < 0.6 for name in SUBSETS}
        name = f"event/{number}"
        annotations.append(Annotation(name, faces, counted))
        near = np.repeat(faces, 2, axis=0) + random.normal(0, 3, (2 * count, 4))
        near[:, 2:] = near[:, :2] + near[:, 2:].clip(1)
        stray = random.uniform(0, 80, (5, 4))
        stray[:, 2:] += stray[:, :2]
        boxes = np.concatenate([near, stray])
        # A few decimals, so that equal scores occur.
        scores = random.uniform(0.05, 0.95, len(boxes)).round(2)
        if number % 5:
            found[name] = Detections(boxes, scores)
    return found, annotations


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("subset", SUBSETS)
def test_the_curve_has_the_area_of_the_authors_own_tools(seed: int, subset: str) -> None:
    found, annotations = random_run(seed)
    ours = wider.curves(found, annotations)[subset].average_precision
    assert ours == pytest.approx(plain_protocol(found, annotations, subset), abs=1e-12)


def one(faces: list[list[float]], counted: list[bool]) -> list[Annotation]:
    mask = np.asarray(counted, np.bool_)
    return [Annotation("a/b", np.asarray(faces, np.float64).reshape(-1, 4), {"hard": mask})]


def detections(*rows: tuple[list[float], float]) -> dict[str, Detections]:
    boxes = np.asarray([box for box, _ in rows], np.float64).reshape(-1, 4)
    return {"a/b": Detections(boxes, np.asarray([score for _, score in rows]))}


def test_finding_an_ignored_face_is_neither_right_nor_wrong() -> None:
    annotations = one([[0, 0, 20, 20], [50, 50, 20, 20]], [True, False])
    found = detections(([50, 50, 70, 70], 0.9), ([0, 0, 20, 20], 0.5))
    curve = wider.curves(found, annotations)["hard"]
    assert curve.average_precision == 1.0
    assert curve.faces == 1


def test_the_second_detection_of_a_face_is_wrong() -> None:
    annotations = one([[0, 0, 20, 20], [50, 50, 20, 20]], [True, True])
    twice = detections(([0, 0, 20, 20], 0.9), ([0, 0, 21, 20], 0.8), ([50, 50, 70, 70], 0.5))
    assert wider.curves(twice, annotations)["hard"].average_precision == pytest.approx(
        0.5 + 0.5 * 2 / 3
    )


def test_an_image_without_detections_still_counts_its_faces() -> None:
    annotations = one([[0, 0, 20, 20]], [True])
    curve = wider.curves({}, annotations)["hard"]
    assert (curve.average_precision, curve.faces) == (0.0, 1)
