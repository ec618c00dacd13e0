"""Labels and an enlarged look correct what the teachers predict."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from torch import Tensor  # noqa: E402

from geometry.coding import decode  # noqa: E402
from training.data.scenes import Scene  # noqa: E402
from training.distillation.targets import (  # noqa: E402
    add_faces,
    clear_empty,
    detect_enlarged,
    ensemble,
    make_targets,
    refine_boxes,
    vote_boxes,
)
from training.network.boxes import encode, iou  # noqa: E402
from training.network.network import CaffeNetwork  # noqa: E402
from training.recipe import Recipe  # noqa: E402

Make = Callable[[int], CaffeNetwork]
RECIPE = Recipe()
VARIANCES = [0.1, 0.1, 0.2, 0.2]


def priors(*boxes: list[float]) -> Tensor:
    made: Tensor = torch.tensor([[*box, *VARIANCES] for box in boxes])
    return made


def scene(boxes: list[list[float]], *, empty: bool = False) -> Scene:
    labelled = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Scene(np.zeros((8, 8, 3), np.uint8), labelled, np.full((3, 3), empty), 1)


def test_a_labelled_face_that_the_teacher_misses_becomes_a_target() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8])
    codes, target = torch.zeros(2, 4), torch.tensor([[0.99, 0.01], [0.99, 0.01]])
    add_faces(
        torch.tensor([[0.2, 0.2, 0.4, 0.42]]), torch.tensor([0.9]), codes, target, prior, RECIPE
    )
    assert target[0].tolist() == pytest.approx([0.1, 0.9])
    assert target[1].tolist() == pytest.approx([0.99, 0.01])
    assert codes[0].tolist() == pytest.approx([0, 0.5, 0, np.log(1.1) / 0.2], abs=1e-4)


def test_a_face_that_the_teacher_detects_stays_as_it_is() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4])
    codes, target = torch.ones(1, 4), torch.tensor([[0.2, 0.8]])
    add_faces(
        torch.tensor([[0.2, 0.2, 0.4, 0.42]]), torch.tensor([0.9]), codes, target, prior, RECIPE
    )
    assert target.tolist() == [[pytest.approx(0.2), pytest.approx(0.8)]]
    assert codes.tolist() == [[1.0] * 4]


def test_a_face_that_only_the_teacher_detects_stays_a_face() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8])
    codes, target = torch.zeros(2, 4), torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    add_faces(
        torch.tensor([[0.2, 0.2, 0.4, 0.4]]), torch.tensor([0.9]), codes, target, prior, RECIPE
    )
    assert target[1, 1] == pytest.approx(0.9)


def test_an_empty_scene_has_no_face_as_target() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4])
    target = torch.tensor([[0.1, 0.9]])
    clear_empty(scene([], empty=True), target, prior)
    assert target.tolist() == [[1.0, 0.0]]


def test_each_cell_of_a_mosaic_is_cleared_separately() -> None:
    """Row 0, column 2, of three rows and columns, and nothing around it."""
    empty = np.zeros((3, 3), np.bool_)
    empty[0, 2] = True
    third = 1 / 3
    cells = [[c * third, r * third, (c + 1) * third, (r + 1) * third] for r in range(3)
             for c in range(3)]  # fmt: skip
    target = torch.tensor([[0.1, 0.9]] * 9)
    mosaic = Scene(np.zeros((9, 9, 3), np.uint8), np.zeros((0, 4), np.float32), empty, 3)
    clear_empty(mosaic, target, priors(*cells))
    assert target[:, 1].tolist() == pytest.approx([0.9, 0.9, 0, *[0.9] * 6])


def test_each_face_is_added_with_its_own_score_at_its_own_priors() -> None:
    """The second face fits no prior well. It gets the one that fits best."""
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8], [0.6, 0.2, 0.8, 0.4])
    codes, target = torch.zeros(3, 4), torch.tensor([[0.99, 0.01]] * 3)
    boxes = torch.tensor([[0.2, 0.2, 0.4, 0.4], [0.65, 0.65, 0.75, 0.75]])
    add_faces(boxes, torch.tensor([0.9, 0.7]), codes, target, prior, RECIPE)
    assert target[:, 1].tolist() == pytest.approx([0.9, 0.7, 0.01])
    assert torch.allclose(codes[1], encode(boxes[1:], prior[1:2])[0])


def test_a_face_of_the_enlarged_look_is_added_with_its_own_probability() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8])
    codes, target = torch.zeros(2, 4), torch.tensor([[0.99, 0.01], [0.99, 0.01]])
    add_faces(
        torch.tensor([[0.6, 0.6, 0.8, 0.8]]), torch.tensor([0.75]), codes, target, prior, RECIPE
    )
    assert target.flatten().tolist() == pytest.approx([0.99, 0.01, 0.25, 0.75])


def test_faces_detected_in_an_enlarged_scene_have_boxes_in_the_scene(network: Make) -> None:
    teacher = network(1)
    data = torch.randn(2, 3, 128, 128) * 60
    larger = torch.nn.functional.interpolate(data, scale_factor=2, mode="bicubic")
    codes, probabilities, prior = ensemble([teacher], larger)
    least = float(probabilities[..., 1].quantile(0.9))
    seen = detect_enlarged([teacher], data, Recipe(enlarged_min=least))
    assert len(seen) == 2
    for index, (boxes, scores) in enumerate(seen):
        assert len(boxes)
        assert (scores >= least).all()
        # The best face overlaps the box of the best prior, in fractions of the scene.
        best = int(probabilities[index, :, 1].argmax())
        corners, variances = prior[best].numpy().reshape(1, 2, 4).swapaxes(0, 1)
        box = decode(codes[index, best : best + 1].numpy(), corners, variances)
        assert iou(torch.from_numpy(box), boxes[:1]).item() >= 0.5


def test_priors_that_see_the_same_face_get_one_target_box() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.22, 0.2, 0.42, 0.4], [0.7, 0.7, 0.9, 0.9])
    seen = torch.tensor([[0.2, 0.2, 0.4, 0.4], [0.2, 0.2, 0.4, 0.36], [0.7, 0.7, 0.9, 0.9]])
    codes, target = encode(seen, prior), torch.tensor([[0.2, 0.8], [0.6, 0.4], [0.95, 0.05]])
    before = codes.clone()
    vote_boxes(codes, target, prior, RECIPE)
    corners, variances = prior[:2].numpy().reshape(-1, 2, 4).swapaxes(0, 1)
    height = (0.8 * 0.2 + 0.4 * 0.16) / 1.2
    for box in decode(codes[:2].numpy(), corners, variances):
        assert box.tolist() == pytest.approx([0.2, 0.2, 0.4, 0.2 + height], abs=1e-5)
    assert torch.equal(codes[2], before[2])


def test_box_voting_changes_nothing_without_a_face() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4])
    codes = torch.ones(1, 4)
    vote_boxes(codes, torch.tensor([[0.95, 0.05]]), prior, RECIPE)
    assert codes.tolist() == [[1.0] * 4]


def test_an_ensemble_of_one_teacher_twice_is_that_teacher(network: Make) -> None:
    teacher = network(1)
    data = torch.randn(1, 3, 128, 128) * 60
    once, twice = ensemble([teacher], data), ensemble([teacher, teacher], data)
    for one, other in zip(once, twice, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


class Stub:
    """A teacher with the same predictions for every picture."""

    def __init__(self, codes: list[float], faces: list[float]) -> None:
        odds = torch.tensor(faces).logit()
        self.codes = torch.tensor(codes)[None, :, None].expand(1, -1, 4)
        self.logits = torch.stack([-odds, odds], -1)[None]

    def detect(self, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes = [[0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8]]
        return self.codes, self.logits, priors(*boxes)


def test_probabilities_are_averaged_and_codes_are_weighted_by_probability() -> None:
    teachers: list[Any] = [Stub([0.0, 4.0], [0.9, 0.2]), Stub([1.0, 0.0], [0.3, 0.6])]
    codes, target, _ = ensemble(teachers, torch.zeros(1, 3, 8, 8))
    assert target[0].flatten().tolist() == pytest.approx([0.4, 0.6, 0.6, 0.4], abs=1e-4)
    assert codes[0, :, 0].tolist() == pytest.approx([0.3 / 1.2, 4 * 0.2 / 0.8], abs=2e-3)


def test_boxes_are_voted_on_and_then_refined_by_the_enlarged_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.2, 0.21, 0.4, 0.41])
    boxes = torch.tensor([[0.2, 0.2, 0.4, 0.4], [0.2, 0.24, 0.4, 0.44]])
    score = torch.tensor([[[0.2, 0.8], [0.2, 0.8]]])
    seen = encode(boxes, prior)[None].repeat(2, 1, 1), score.repeat(2, 1, 1), prior
    monkeypatch.setattr("training.distillation.targets.ensemble", lambda *_: seen)
    looked_at = []

    def look(teachers: object, data: Tensor, recipe: Recipe) -> list[tuple[Tensor, Tensor]]:
        looked_at.append(len(data))
        return [(torch.tensor([[0.2, 0.23, 0.4, 0.43]]), torch.tensor([0.9]))] * len(data)

    monkeypatch.setattr("training.distillation.targets.detect_enlarged", look)
    codes, _ = make_targets([], [scene([]), scene([])], torch.zeros(2, 3, 8, 8), 1, RECIPE)
    assert looked_at == [1]
    corners, variances = prior.numpy().reshape(-1, 2, 4).swapaxes(0, 1)
    for code, top in zip(codes, (0.23, 0.22), strict=True):
        for box in decode(code.numpy(), corners, variances):
            assert box.tolist() == pytest.approx([0.2, top, 0.4, top + 0.2], abs=1e-5)


@pytest.mark.parametrize(("label_boxes", "top"), [(True, 0.19), (False, 0.23)])
def test_a_labelled_face_has_the_box_of_its_label(
    monkeypatch: pytest.MonkeyPatch, label_boxes: bool, top: float
) -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8])
    seen = torch.zeros(1, 2, 4), torch.tensor([[[0.4, 0.6], [0.4, 0.6]]]), prior
    monkeypatch.setattr("training.distillation.targets.ensemble", lambda *_: seen)
    closer = [(torch.tensor([[0.2, 0.23, 0.4, 0.43]]), torch.tensor([0.9]))]
    monkeypatch.setattr("training.distillation.targets.detect_enlarged", lambda *_: closer)
    label = [0.2, 0.19, 0.4, 0.39]
    recipe = Recipe(label_boxes=label_boxes)
    codes, target = make_targets([], [scene([label])], torch.zeros(1, 3, 8, 8), 1, recipe)
    assert target[0, :, 1].tolist() == pytest.approx([0.6, 0.6])
    expected = encode(torch.tensor([[0.2, top, 0.4, top + 0.2]]), prior[:1])
    assert torch.allclose(codes[0, :1], expected, atol=1e-5)
    # Nobody labelled the other face, so it keeps the teachers' box.
    assert torch.allclose(codes[0, 1], torch.zeros(4), atol=1e-5)


def test_a_labelled_face_keeps_its_probability_if_the_enlarged_look_is_less_sure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box, prior = [0.2, 0.2, 0.4, 0.4], priors([0.2, 0.2, 0.4, 0.4])
    seen = torch.zeros(1, 1, 4), torch.tensor([[[0.99, 0.01]]]), prior
    monkeypatch.setattr("training.distillation.targets.ensemble", lambda *_: seen)
    closer = [(torch.tensor([box]), torch.tensor([0.75]))]
    monkeypatch.setattr("training.distillation.targets.detect_enlarged", lambda *_: closer)
    _, target = make_targets([], [scene([box])], torch.zeros(1, 3, 8, 8), 1, RECIPE)
    assert target.flatten().tolist() == pytest.approx([0.1, 0.9])


def test_a_detected_face_moves_to_the_box_of_the_enlarged_look() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.2, 0.3, 0.4, 0.5], [0.6, 0.6, 0.8, 0.8])
    codes = torch.zeros(3, 4)
    target = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]])
    box = torch.tensor([[0.22, 0.2, 0.4, 0.4]])
    refine_boxes(box, codes, target, prior, RECIPE)
    assert target[:, 1].tolist() == pytest.approx([0.5, 0.1, 0.9])
    assert torch.allclose(codes[0], encode(box, prior[:1])[0])
    assert codes[1:].count_nonzero() == 0


def test_large_faces_are_left_out_of_the_enlarged_look(network: Make) -> None:
    data = torch.randn(1, 3, 128, 128) * 60
    [(boxes, _)] = detect_enlarged([network(1)], data, Recipe(enlarged_min=0.0))
    assert len(boxes)
    assert (boxes[:, 2:] - boxes[:, :2]).max() * 256 <= 96


def test_an_empty_cell_has_no_face_as_target_even_after_an_enlarged_look(network: Make) -> None:
    data = torch.randn(2, 3, 128, 128) * 60
    _, target = make_targets([network(1)], [scene([], empty=True), scene([])], data, 2, RECIPE)
    assert target[0, :, 1].max() == 0
    assert target[1, :, 1].max() > 0.5
