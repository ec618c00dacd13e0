"""A student comes closer to its teacher; marks correct what the teacher says."""

import copy
import itertools
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from torch import Tensor  # noqa: E402

from convert.caffe import network as caffe  # noqa: E402
from training.coding import encode  # noqa: E402
from training.distillation import (  # noqa: E402
    Average,
    Recipe,
    add_faces,
    add_marks,
    distil,
    distillation_loss,
    ensemble,
    look_closer,
)
from training.network import CaffeNetwork  # noqa: E402
from training.photographs import Photograph  # noqa: E402
from training.scenes import Scene, compose  # noqa: E402
from training.trainer import TrainingError  # noqa: E402

VARIANCES = [0.1, 0.1, 0.2, 0.2]


def priors(*boxes: list[float]) -> Tensor:
    made: Tensor = torch.tensor([[*box, *VARIANCES] for box in boxes])
    return made


def network(tiny: Path, seed: int) -> CaffeNetwork:
    torch.manual_seed(seed)
    made = CaffeNetwork(caffe.load(tiny / "deploy.prototxt", None)).train()
    made.detect(torch.randn(2, 3, 256, 256) * 60)
    return made.eval()


def scene(boxes: list[list[float]], *, empty: bool = False) -> Scene:
    marked = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Scene(np.zeros((8, 8, 3), np.uint8), marked, np.full((3, 3), empty), 1)


def test_a_marked_face_that_the_teacher_overlooks_is_taught() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8])
    codes, taught = torch.zeros(2, 4), torch.tensor([[0.99, 0.01], [0.99, 0.01]])
    add_marks(scene([[0.2, 0.2, 0.4, 0.42]]), codes, taught, prior)
    assert taught[0].tolist() == pytest.approx([0.1, 0.9])
    assert taught[1].tolist() == pytest.approx([0.99, 0.01])
    assert codes[0].tolist() == pytest.approx([0, 0.5, 0, np.log(1.1) / 0.2], abs=1e-4)


def test_a_face_that_the_teacher_sees_stays_as_the_teacher_has_it() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4])
    codes, taught = torch.ones(1, 4), torch.tensor([[0.2, 0.8]])
    add_marks(scene([[0.2, 0.2, 0.4, 0.42]]), codes, taught, prior)
    assert taught.tolist() == [[pytest.approx(0.2), pytest.approx(0.8)]]
    assert codes.tolist() == [[1.0] * 4]


def test_what_the_teacher_sees_and_nobody_marked_stays_a_face() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8])
    codes, taught = torch.zeros(2, 4), torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    add_marks(scene([[0.2, 0.2, 0.4, 0.4]]), codes, taught, prior)
    assert taught[1, 1] == pytest.approx(0.9)


def test_an_enlarged_look_teaches_with_its_own_certainty() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8])
    codes, taught = torch.zeros(2, 4), torch.tensor([[0.99, 0.01], [0.99, 0.01]])
    add_faces(torch.tensor([[0.6, 0.6, 0.8, 0.8]]), torch.tensor([0.75]), codes, taught, prior)
    assert taught.flatten().tolist() == pytest.approx([0.99, 0.01, 0.25, 0.75])


def test_faces_seen_in_an_enlarged_scene_lie_where_they_are_in_the_scene(tiny: Path) -> None:
    teacher = network(tiny, 1)
    data = torch.randn(2, 3, 128, 128) * 60
    larger = torch.nn.functional.interpolate(data, scale_factor=2, mode="bicubic")
    codes, probabilities, prior = ensemble([teacher], larger)
    least = float(probabilities[..., 1].quantile(0.9))
    seen = look_closer([teacher], data, least)
    assert len(seen) == 2
    for index, (boxes, scores) in enumerate(seen):
        assert len(boxes)
        assert (scores >= least).all()
        # The best face of a scene is the best prior's box, in fractions of the scene.
        best = probabilities[index, :, 1].argmax()
        again = encode(boxes[:1], prior[best : best + 1])
        assert torch.allclose(again, codes[index, best], atol=1e-3)


def test_a_thumbnail_makes_a_scene_too(tmp_path: Path) -> None:
    Image.new("RGB", (40, 60)).save(tmp_path / "small.png")
    small = Photograph(tmp_path / "small.png", "small.png", None)
    for seed in range(10):
        assert compose([small], 320, np.random.default_rng(seed)).image.shape == (320, 320, 3)


def test_a_run_asked_to_stop_saves_its_state_and_says_how_to_go_on(
    tiny: Path, portraits: list[Photograph], tmp_path: Path
) -> None:
    def stop(done: float, loss: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    recipe = Recipe(hours=1, batch=2, size=128, large_size=128, enlarged_share=0.5)
    parts = network(tiny, 2), [network(tiny, 1)], portraits, tmp_path, recipe
    with pytest.raises(TrainingError, match="after step 1; continue with --resume"):
        distil(*parts, resume=False, progress=stop)
    assert (tmp_path / "latest.pt").exists()
    assert (tmp_path / "average-000001.caffemodel").exists()


def test_no_face_is_taught_where_none_is() -> None:
    prior = priors([0.2, 0.2, 0.4, 0.4])
    codes, taught = torch.zeros(1, 4), torch.tensor([[0.1, 0.9]])
    add_marks(scene([], empty=True), codes, taught, prior)
    assert taught.tolist() == [[1.0, 0.0]]


def test_agreement_costs_nothing() -> None:
    logits = torch.tensor([[[-2.0, 2.0], [3.0, -3.0]]])
    codes = torch.ones(1, 2, 4)
    parts = distillation_loss(codes, logits, codes, logits.sigmoid(), 1.5)
    assert [part.item() for part in parts] == [0.0, 0.0]


def test_an_ensemble_of_one_teacher_twice_is_that_teacher(tiny: Path) -> None:
    teacher = network(tiny, 1)
    data = torch.randn(1, 3, 128, 128) * 60
    once, twice = ensemble([teacher], data), ensemble([teacher, teacher], data)
    for one, other in zip(once, twice, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_average_moves_towards_the_network(tiny: Path) -> None:
    first, second = network(tiny, 1), network(tiny, 2)
    average = Average(copy.deepcopy(first), 0.9)
    for _ in range(200):
        average.update(second)
    for name, value in second.state_dict().items():
        found = average.network.state_dict()[name].float()
        assert torch.allclose(found, value.float(), atol=1e-2, rtol=1e-2), name


def test_scenes_keep_their_faces_inside(portraits: list[Photograph]) -> None:
    for seed in range(20):
        made = compose(portraits, 96, np.random.default_rng(seed))
        assert made.image.shape == (96, 96, 3)
        assert ((made.boxes >= 0) & (made.boxes <= 1)).all()
        assert (made.boxes[:, 2:] > made.boxes[:, :2]).all()


def distilled(
    tiny: Path, portraits: list[Photograph], folder: Path, steps: int, *, resume: bool = False
) -> Path:
    """A run by a clock that ticks twice for each step, so that it ends after about that many."""
    recipe = Recipe(
        hours=steps * 2 / 3600,
        batch=4,
        size=128,
        large_size=256,
        warmup=1,
        rate=0.003,
        average=0.5,
        save_minutes=100,
    )
    ticks = itertools.count()
    return distil(
        network(tiny, 2),
        [network(tiny, 1)],
        portraits,
        folder,
        recipe,
        resume=resume,
        progress=lambda done, loss: None,
        clock=lambda: float(next(ticks)),
    )


def test_a_student_comes_closer_to_its_teacher_and_goes_on_after_a_stop(
    tiny: Path, portraits: list[Photograph], tmp_path: Path
) -> None:
    distilled(tiny, portraits, tmp_path, 20)
    path = distilled(tiny, portraits, tmp_path, 40, resume=True)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [entry for entry in entries if "step" in entry]
    assert [entry["step"] // 10 for entry in steps] == [1, 2, 3, 4]
    assert steps[-1]["location"] < steps[0]["location"]
    CaffeNetwork(caffe.load(tiny / "deploy.prototxt", path))


def test_a_teacher_of_another_family_is_refused(
    tiny: Path, portraits: list[Photograph], tmp_path: Path
) -> None:
    student = CaffeNetwork(caffe.load(tiny / "deploy.prototxt", None))
    deploy = (tiny / "deploy.prototxt").read_text().replace("min_size: 16", "min_size: 12")
    (tmp_path / "other.prototxt").write_text(deploy)
    other = CaffeNetwork(caffe.load(tmp_path / "other.prototxt", None))
    with pytest.raises(TrainingError, match="priors"):
        distil(
            student,
            [other],
            portraits,
            tmp_path,
            Recipe(hours=1, size=128),
            resume=False,
            progress=lambda done, loss: None,
        )
