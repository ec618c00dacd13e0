"""A tiny network memorises tiny images, stops, resumes, and reports what went wrong."""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from convert.caffe import network as caffe  # noqa: E402
from convert.caffe import weights  # noqa: E402
from convert.caffe.caffe_pb2 import SolverParameter  # noqa: E402
from convert.caffe.network import CaffeError  # noqa: E402
from training.data.annotated import AnnotatedData  # noqa: E402
from training.data.dataset import LabelledImage  # noqa: E402
from training.network.multibox import MultiBoxLoss  # noqa: E402
from training.network.network import CaffeNetwork  # noqa: E402
from training.state import TrainingError  # noqa: E402
from training.trainer import Job, train  # noqa: E402
from training.validation import Validation, validate  # noqa: E402

Make = Callable[..., Job]


@pytest.fixture
def job(tiny: Path, portraits: list[LabelledImage], tmp_path: Path) -> Make:
    """A job on the tiny network; keywords are settings of the solver."""

    def make(**settings: object) -> Job:
        torch.manual_seed(3)
        defaults = {
            "type": "Adam", "base_lr": 0.003, "lr_policy": "fixed", "momentum": 0.9,
            "max_iter": 4, "snapshot_prefix": "somewhere/tiny", "display": 1, "average_loss": 1,
        }  # fmt: skip
        solver = SolverParameter(**(defaults | settings))  # type: ignore[arg-type]
        source = caffe.load(tiny / "train.prototxt", None, phase="TRAIN")
        loss = next(layer for layer in source.training_layers if layer.type == "MultiBoxLoss")
        data = AnnotatedData.of_network(source, "train.prototxt")
        test = caffe.load(tiny / "test.prototxt", None)
        return Job(
            solver=solver,
            network=CaffeNetwork(source),
            data=dataclasses.replace(data, batch=4),
            loss=MultiBoxLoss.of_layer(loss),
            dataset=portraits,
            folder=tmp_path / "run",
            held_out=portraits,
            validation=Validation.of_network(test, "MaxIntegral"),
        )

    return make


def silent(done: int, loss: float) -> None:
    pass


def entries(job: Job, key: str) -> list[float]:
    lines = (job.folder / "log.jsonl").read_text().splitlines()
    return [entry[key] for entry in map(json.loads, lines) if key in entry]


def test_a_tiny_network_memorises_its_images(job: Make) -> None:
    own = job(max_iter=120, lr_policy="multistep", gamma=0.2, stepvalue=[90])
    plain = dataclasses.replace(own.data, samplers=())
    own = dataclasses.replace(own, data=plain)
    train(own, resume=False, progress=silent)
    assert own.validation is not None
    assert validate(own.network, own.data, own.held_out, own.validation) == pytest.approx(1.0)
    losses = entries(own, "loss")
    assert losses[-1] < losses[0] / 4


def test_a_resumed_run_ends_with_the_weights_of_one_that_never_stopped(
    job: Make, tmp_path: Path
) -> None:
    whole = job(type="SGD", base_lr=0.001, iter_size=2)
    expected = weights.read(train(whole, resume=False, progress=silent))
    first = dataclasses.replace(
        job(type="SGD", base_lr=0.001, iter_size=2, max_iter=2), folder=tmp_path / "parts"
    )
    train(first, resume=False, progress=silent)
    torch.manual_seed(99)
    second = dataclasses.replace(
        job(type="SGD", base_lr=0.001, iter_size=2), folder=tmp_path / "parts"
    )
    found = weights.read(train(second, resume=True, progress=silent))
    for name, blobs in expected.items():
        for one, other in zip(blobs, found[name], strict=True):
            assert one == pytest.approx(other, rel=1e-5, abs=1e-7), name


@pytest.mark.parametrize(
    ("solver", "parts", "says"),
    [
        ({"type": "RMSProp", "momentum": 0.0}, {}, "was started with type Adam, not RMSProp"),
        ({"iter_size": 2}, {}, "was started with iter_size 1, not 2"),
        ({}, {"seed": 5}, "was started with --seed 1, not 5"),
    ],
)
def test_a_run_resumes_only_with_its_solver_and_seed(
    job: Make, solver: dict[str, object], parts: dict[str, object], says: str
) -> None:
    """The history of one solver means nothing to another."""
    train(job(max_iter=1), resume=False, progress=silent)
    other = dataclasses.replace(job(**solver), **parts)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=says):
        train(other, resume=True, progress=silent)


def test_shared_weights_are_refused(job: Make, tiny: Path, tmp_path: Path) -> None:
    text = (tiny / "train.prototxt").read_text()
    for name in ("conv_2/expand_", "conv_3/expand_"):
        head = f'name: "{name}"\n'
        assert head in text
        text = text.replace(head, head + 'param { name: "both" }\n', 1)
    (tmp_path / "train.prototxt").write_text(text)
    source = caffe.load(tmp_path / "train.prototxt", None, phase="TRAIN")
    own = dataclasses.replace(job(), network=CaffeNetwork(source))
    with pytest.raises(CaffeError, match="shares the weights 'both' of conv_2/expand_"):
        train(own, resume=False, progress=silent)


def test_a_broken_held_out_image_costs_no_iteration(job: Make, tmp_path: Path) -> None:
    own = job(max_iter=3, test_interval=2, test_initialization=False)
    (tmp_path / "broken.jpg").write_bytes(b"none")
    broken = LabelledImage(tmp_path / "broken.jpg", "broken.jpg", own.dataset[0].boxes)
    own = dataclasses.replace(own, held_out=[broken])
    with pytest.raises(TrainingError, match=r"broken\.jpg: can't be read .* then --resume"):
        train(own, resume=False, progress=silent)
    assert torch.load(own.folder / "latest.pt")["iteration"] == 2


def test_bfloat16_learns_nearly_the_same(job: Make) -> None:
    """The losses must differ, or bfloat16 was not used."""
    losses = []
    for bfloat16 in (False, True):
        own = job(type="SGD", base_lr=0.001)
        folder = own.folder / str(bfloat16)
        own = dataclasses.replace(own, bfloat16=bfloat16, folder=folder)
        train(own, resume=False, progress=silent)
        losses.append(entries(own, "loss"))
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_snapshots_have_the_names_that_caffe_gives_them(job: Make) -> None:
    own = job(snapshot=2)
    last = train(own, resume=False, progress=silent)
    assert last == own.folder / "tiny_iter_4.caffemodel"
    assert (own.folder / "tiny_iter_2.caffemodel").exists()


def test_validation_runs_when_the_solver_says(job: Make) -> None:
    own = job(test_interval=2, test_initialization=False)
    train(own, resume=False, progress=silent)
    assert len(entries(own, "average_precision")) == 2


def test_a_stopped_run_saves_its_state_and_says_how_to_continue(job: Make) -> None:
    own = job(max_iter=50)

    def stop(done: int, loss: float) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match="after iteration 2; continue with --resume"):
        train(own, resume=False, progress=stop)
    again = job(max_iter=3)
    seen: list[int] = []
    train(again, resume=True, progress=lambda done, loss: seen.append(done))
    assert seen == [3]


def test_a_run_resumes_only_as_it_was_started(job: Make) -> None:
    train(job(max_iter=2), resume=False, progress=silent)
    with pytest.raises(TrainingError, match="already at iteration 2, past the solver's max_iter 1"):
        train(job(max_iter=1), resume=True, progress=silent)
    own = job(max_iter=3)
    other = dataclasses.replace(own.dataset[0], name="other.png")
    with pytest.raises(
        TrainingError, match=r"not trained on 1 of these images, such as other\.png"
    ):
        train(dataclasses.replace(own, dataset=[other]), resume=True, progress=silent)


def test_a_truncated_image_costs_no_iteration(job: Make, tmp_path: Path) -> None:
    own = job(max_iter=50)
    broken = tmp_path / "broken.png"
    broken.write_bytes(own.dataset[0].path.read_bytes()[:2000])
    some = [*own.dataset[1:], LabelledImage(broken, broken.name, own.dataset[0].boxes)]
    with pytest.raises(TrainingError, match=r"broken.png: can't be read.*repair it or remove it"):
        train(dataclasses.replace(own, dataset=some), resume=False, progress=silent)
    again = dataclasses.replace(job(max_iter=4), dataset=some[:-1])
    train(again, resume=True, progress=silent)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_log_that_cannot_be_written_costs_no_iteration(job: Make) -> None:
    own = job()
    log = own.folder / "log.jsonl"
    own.folder.mkdir()
    log.symlink_to("/dev/full")
    advice = "log.jsonl: No space left on device; repair this, then --resume from the last state"
    with pytest.raises(TrainingError, match=advice):
        train(own, resume=False, progress=silent)
    log.unlink()
    log.write_text('{"iteration": 0, "loss": 1.0}\n{"iterat')
    train(job(), resume=True, progress=silent)
    assert entries(own, "iteration") == [0, 1, 2, 3]


def test_a_run_is_not_overwritten(job: Make) -> None:
    train(job(max_iter=1), resume=False, progress=silent)
    with pytest.raises(TrainingError, match="--resume"):
        train(job(max_iter=1), resume=False, progress=silent)


def test_a_diverging_loss_stops_the_run_with_advice(job: Make) -> None:
    own = job(type="SGD", base_lr=1e12, max_iter=20)
    with pytest.raises(
        TrainingError, match=r"the loss became (nan|inf) at iteration \d+: lower base_lr"
    ):
        train(own, resume=False, progress=silent)


def test_broken_weights_are_not_written(job: Make) -> None:
    own = job(type="SGD", momentum=0, base_lr=1e38, max_iter=1)
    with pytest.raises(TrainingError, match="weights became NaN or infinite"):
        train(own, resume=False, progress=silent)
    assert [each.name for each in own.folder.iterdir()] == ["log.jsonl"]
