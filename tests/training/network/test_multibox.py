"""MultiBoxLoss against a plain transcription of SSD's own, one number at a time."""

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from convert.caffe import caffe_pb2  # noqa: E402
from convert.caffe.network import CaffeError, Layer  # noqa: E402
from geometry.coding import CodeType  # noqa: E402
from training.network.multibox import MultiBoxLoss  # noqa: E402

Box = list[float]


def overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (areas[0] + areas[1] - both)


def plain_matches(
    priors: list[Box], faces: list[Box], threshold: float
) -> tuple[list[int], list[float]]:
    """`MatchBBox`, PER_PREDICTION."""
    owners, best = [-1] * len(priors), [0.0] * len(priors)
    shared: dict[int, dict[int, float]] = {}
    for i, prior in enumerate(priors):
        for j, face in enumerate(faces):
            value = overlap(prior, face)
            if value > 1e-6:
                best[i] = max(best[i], value)
                shared.setdefault(i, {})[j] = value
    pool = list(range(len(faces)))
    while pool:
        top, prior_of, face_of = -1.0, -1, -1
        for i in sorted(shared):
            if owners[i] != -1:
                continue
            for j in pool:
                if j in shared[i] and shared[i][j] > top:
                    top, prior_of, face_of = shared[i][j], i, j
        if prior_of == -1:
            break
        owners[prior_of], best[prior_of] = face_of, top
        pool.remove(face_of)
    for i in sorted(shared):
        if owners[i] != -1:
            continue
        top, face_of = -1.0, -1
        for j, value in sorted(shared[i].items()):
            if value >= threshold and value > top:
                top, face_of = value, j
        if face_of != -1:
            owners[i], best[i] = face_of, top
    return owners, best


def plain_confidence(logits: list[float], label: int, logistic: bool) -> float:
    """`ComputeConfLoss` of one prior."""
    if not logistic:
        top = max(logits)
        total = sum(math.exp(value - top) for value in logits)
        return -math.log(math.exp(logits[label] - top) / total)
    loss = 0.0
    for index, value in enumerate(logits):
        target, positive = float(index == label), float(value >= 0)
        loss -= value * (target - positive) - math.log(1 + math.exp(value - 2 * value * positive))
    return loss


def plain_codes(face: Box, prior: Box, variance: Box) -> Box:
    """`EncodeBBox`, CENTER_SIZE."""
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    return [
        ((face[0] + face[2]) / 2 - (prior[0] + prior[2]) / 2) / width / variance[0],
        ((face[1] + face[3]) / 2 - (prior[1] + prior[3]) / 2) / height / variance[1],
        math.log((face[2] - face[0]) / width) / variance[2],
        math.log((face[3] - face[1]) / height) / variance[3],
    ]


def plain_loss(
    codes: list[list[Box]],
    logits: list[list[Box]],
    priors: list[Box],
    faces: list[list[Box]],
    *,
    threshold: float,
    negative_overlap: float,
    logistic: bool,
) -> tuple[float, float]:
    location = confidence = 0.0
    matched = 0
    for image, labelled in enumerate(faces):
        owners, best = plain_matches([prior[:4] for prior in priors], labelled, threshold)
        losses = []
        count = 0
        for i, owner in enumerate(owners):
            if owner >= 0:
                count += 1
                target = plain_codes(labelled[owner], priors[i][:4], priors[i][4:])
                for value, wanted in zip(codes[image][i], target, strict=True):
                    away = abs(value - wanted)
                    location += 0.5 * away * away if away < 1 else away - 0.5
                confidence += plain_confidence(logits[image][i], 1, logistic)
            elif best[i] < negative_overlap:
                losses.append(plain_confidence(logits[image][i], 0, logistic))
        losses.sort(reverse=True)
        confidence += sum(losses[: int(count * 3.0)])
        matched += count
    return location / max(1, matched), confidence / max(1, matched)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("logistic", [True, False])
def test_the_loss_equals_a_plain_transcription(seed: int, logistic: bool) -> None:
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2) / 8 + 1 / 16
    sides = np.repeat([[0.15], [0.3]], 64, axis=0)
    centres = np.concatenate([grid, grid])
    priors = np.concatenate(
        [centres - sides / 2, centres + sides / 2, np.tile([0.1, 0.1, 0.2, 0.2], (128, 1))], 1
    ).astype(np.float32)
    faces = []
    for count in (0, 1, 7):
        corner = random.uniform(0, 0.7, (count, 2))
        faces.append(
            np.concatenate([corner, corner + random.uniform(0.05, 0.3, (count, 2))], 1).astype(
                np.float32
            )
        )
    codes = random.normal(0, 2, (3, 128, 4)).astype(np.float32)
    logits = random.normal(0, 2, (3, 128, 2)).astype(np.float32)
    loss = MultiBoxLoss(
        threshold=0.3, negative_overlap=0.35, logistic=logistic, code_type=CodeType.CENTER_SIZE
    )
    ours = loss(torch.from_numpy(codes), torch.from_numpy(logits), torch.from_numpy(priors), faces)
    plain = plain_loss(
        codes.tolist(),
        logits.tolist(),
        priors.tolist(),
        [each.tolist() for each in faces],
        threshold=0.3,
        negative_overlap=0.35,
        logistic=logistic,
    )
    assert [float(value) for value in ours] == pytest.approx(plain, rel=1e-5)


def test_images_without_faces_cost_nothing() -> None:
    loss = MultiBoxLoss(code_type=CodeType.CENTER_SIZE)
    priors = torch.tensor([[0.1, 0.1, 0.3, 0.3, 0.1, 0.1, 0.2, 0.2]])
    codes = torch.ones(1, 1, 4, requires_grad=True)
    logits = torch.ones(1, 1, 2, requires_grad=True)
    parts = loss(codes, logits, priors, [np.zeros((0, 4), np.float32)])
    assert [part.item() for part in parts] == [0.0, 0.0]


@pytest.mark.parametrize(("weights", "factor"), [([], 1.0), ([1.0], 1.0), ([0.25], 0.25)])
def test_the_loss_weight_applies_to_both_parts(weights: list[float], factor: float) -> None:
    parameter = caffe_pb2.LayerParameter(name="mbox_loss", loss_weight=weights)
    parameter.multibox_loss_param.num_classes = 2
    loss = MultiBoxLoss.of_layer(Layer("mbox_loss", "MultiBoxLoss", 7, (), (), parameter))
    plain = dataclasses.replace(loss, weight=1.0)
    priors = torch.tensor([[0.1, 0.1, 0.3, 0.3, 0.1, 0.1, 0.2, 0.2]])
    codes, logits = torch.ones(1, 1, 4, requires_grad=True), torch.ones(1, 1, 2)
    faces = [np.asarray([[0.1, 0.1, 0.3, 0.35]], np.float32)]
    expected = [factor * part.item() for part in plain(codes, logits, priors, faces)]
    assert min(expected) > 0
    parts = loss(codes, logits, priors, faces)
    assert [part.item() for part in parts] == pytest.approx(expected)
    torch.autograd.backward(parts[0])
    # Three codes are one off, where smooth L1 has the slope 1, and one prior is matched.
    assert codes.grad is not None
    assert codes.grad.abs().max().item() == pytest.approx(factor)


def test_unsupported_settings_are_refused_by_name() -> None:
    parameter = caffe_pb2.LayerParameter(name="mbox_loss", type="MultiBoxLoss")
    own = parameter.multibox_loss_param
    own.num_classes = 21
    own.bp_inside = True
    own.encode_variance_in_target = True
    own.nms_param.nms_threshold = 0.5
    own.background_label_id = 2
    own.mining_type = caffe_pb2.MultiBoxLossParameter.HARD_EXAMPLE
    parameter.loss_weight.extend([1.0, 1.0])
    layer = Layer("mbox_loss", "MultiBoxLoss", 7, (), (), parameter)
    with pytest.raises(CaffeError, match="HARD_EXAMPLE") as caught:
        MultiBoxLoss.of_layer(layer)
    assert len(caught.value.diagnostics) == 7
