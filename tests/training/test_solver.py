"""Learning rates and updates against Caffe's formulas, worked out by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from convert.caffe.caffe_pb2 import SolverParameter  # noqa: E402
from convert.caffe.network import CaffeError  # noqa: E402
from training import solver  # noqa: E402


@pytest.mark.parametrize(
    ("policy", "settings", "iteration", "factor"),
    [
        ("fixed", {}, 900, 1.0),
        ("step", {"gamma": 0.1, "stepsize": 100}, 99, 1.0),
        ("step", {"gamma": 0.1, "stepsize": 100}, 250, 0.01),
        ("exp", {"gamma": 0.5}, 3, 0.125),
        ("inv", {"gamma": 0.5, "power": 2.0}, 2, 0.25),
        ("multistep", {"gamma": 0.5, "stepvalue": [10, 20]}, 9, 1.0),
        ("multistep", {"gamma": 0.5, "stepvalue": [10, 20]}, 10, 0.5),
        ("multistep", {"gamma": 0.5, "stepvalue": [10, 20]}, 25, 0.25),
        ("poly", {"power": 2.0, "max_iter": 100}, 50, 0.25),
        ("sigmoid", {"gamma": 1.0, "stepsize": 10}, 10, 0.5),
        ("sigmoid", {"gamma": -0.01, "stepsize": 5000}, 90000, 0.0),
    ],
)
def test_the_rate_follows_the_policy(
    policy: str, settings: dict[str, Any], iteration: int, factor: float
) -> None:
    parameter = SolverParameter(base_lr=0.25, lr_policy=policy, **settings)
    assert solver.rate(parameter, iteration) == pytest.approx(0.25 * factor)


def updated(parameter: SolverParameter, *gradients: float, lr_mult: float = 1.0) -> float:
    """The weight that starts at 2 after an update with each of the gradients."""
    weight = torch.tensor([2.0])
    updater = solver.Updater(parameter, [solver.TrainedParameter("w", weight, lr_mult, 1.0)])
    for iteration, gradient in enumerate(gradients):
        weight.grad = torch.tensor([gradient])
        updater.step(iteration)
    return float(weight)


def test_sgd_decays_and_keeps_momentum() -> None:
    parameter = SolverParameter(
        type="SGD", base_lr=0.1, lr_policy="fixed", momentum=0.9, weight_decay=0.5
    )
    first = 0.1 * (3.0 + 0.5 * 2.0)
    weight = 2.0 - first
    second = 0.9 * first + 0.1 * (-1.0 + 0.5 * weight)
    assert updated(parameter, 3.0, -1.0) == pytest.approx(weight - second)


def test_rmsprop_divides_by_the_root_of_the_decayed_square_plus_delta() -> None:
    parameter = SolverParameter(
        type="RMSProp", base_lr=0.1, lr_policy="fixed", rms_decay=0.75, delta=0.5
    )
    first = 0.25 * 3.0**2
    weight = 2.0 - 0.1 * 3.0 / (math.sqrt(first) + 0.5)
    second = 0.75 * first + 0.25 * 1.0
    weight -= 0.1 * -1.0 / (math.sqrt(second) + 0.5)
    assert updated(parameter, 3.0, -1.0) == pytest.approx(weight)


def test_adam_corrects_its_start() -> None:
    parameter = SolverParameter(
        type="Adam", base_lr=0.1, lr_policy="fixed", momentum=0.9, momentum2=0.99, delta=1e-8
    )
    # In the first step the corrections cancel the decay, so the step equals the rate.
    assert updated(parameter, 3.0) == pytest.approx(1.9)


def test_adagrad_adds_up_squares() -> None:
    parameter = SolverParameter(type="AdaGrad", base_lr=0.1, lr_policy="fixed", delta=0.0)
    assert updated(parameter, 3.0, 4.0) == pytest.approx(2.0 - 0.1 - 0.1 * 4 / 5)


def test_nesterov_looks_ahead() -> None:
    parameter = SolverParameter(type="Nesterov", base_lr=0.1, lr_policy="fixed", momentum=0.5)
    assert updated(parameter, 1.0) == pytest.approx(2.0 - 1.5 * 0.1)


def test_adadelta_scales_by_its_own_steps() -> None:
    parameter = SolverParameter(
        type="AdaDelta", base_lr=1.0, lr_policy="fixed", momentum=0.5, delta=0.5
    )
    change = 2.0 * math.sqrt(0.5 / (0.5 * 4.0 + 0.5))
    assert updated(parameter, 2.0) == pytest.approx(2.0 - change)


def test_gradients_of_several_batches_are_averaged_and_each_parameter_has_its_own_rate() -> None:
    parameter = SolverParameter(type="SGD", base_lr=0.1, lr_policy="fixed", iter_size=4)
    assert updated(parameter, 8.0, lr_mult=2.0) == pytest.approx(2.0 - 0.2 * 2.0)


def test_the_sum_of_gradients_is_clipped_before_it_is_averaged() -> None:
    parameter = SolverParameter(
        type="SGD", base_lr=0.1, lr_policy="fixed", iter_size=2, clip_gradients=1.0
    )
    assert updated(parameter, 8.0) == pytest.approx(2.0 - 0.1 * 0.5)


def test_a_parameter_with_factor_0_stays() -> None:
    parameter = SolverParameter(type="SGD", base_lr=0.1, lr_policy="fixed", weight_decay=1.0)
    assert updated(parameter, 8.0, lr_mult=0.0) == 2.0


def test_all_problems_of_a_solver_file_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text('type: "Lion" lr_policy: "cosine" max_iter: 5\n')
    with pytest.raises(CaffeError) as caught:
        solver.read(path)
    text = " ".join(str(problem) for problem in caught.value.diagnostics)
    assert all(word in text for word in ("Lion", "cosine", "base_lr"))


GOOD = 'base_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 5\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('ap_version: "12point"', "line 4: ap_version '12point': choose one of 11point, Integral"),
        ("iter_size: 0", "line 4: iter_size must be positive"),
        ("momentum: 1", "line 4: momentum must be at least 0 and below 1"),
        ("momentum: nan", "line 4: momentum must be at least 0 and below 1"),
        ("momentum2: 1.5", "line 4: momentum2 must be at least 0 and below 1"),
        ("rms_decay: 2", "line 4: rms_decay must be at least 0 and below 1"),
        ("weight_decay: -1", "line 4: weight_decay must be at least 0, and finite"),
        ("delta: inf", "line 4: delta must be at least 0, and finite"),
        ("power: nan", "line 4: power must be finite"),
        ("gamma: -1", "line 4: gamma must be finite, and at least 0"),
        ("test_state { stage: 'val' }", "line 4: the trainer does not support test_state"),
        ("min_lr: 0.001", "line 4: the trainer does not support min_lr"),
        (
            "weights: 'a.caffemodel'",
            "line 4: the trainer does not support weights: give the caffemodel as",
        ),
        (
            "train_net_param { name: 'n' }",
            "line 4: the trainer does not support train_net_param: write it",
        ),
    ],
)
def test_an_unsupported_setting_is_an_error_with_its_line(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(GOOD + text)
    with pytest.raises(CaffeError) as caught:
        solver.read(path)
    (problem,) = caught.value.diagnostics
    assert str(problem).startswith(says)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("random_seed: 7", ["line 4: random_seed is ignored: use --seed"]),
        ("snapshot_format: HDF5", ["line 4: snapshot_format is ignored: snapshots are binary"]),
        ("snapshot_after_train: false", ["line 4: snapshot_after_train is ignored: the last"]),
        ("snapshot_diff: true", ["line 4: snapshot_diff is ignored: snapshots have no gradients"]),
        ("test_compute_loss: true", ["line 4: test_compute_loss is ignored: tests measure"]),
        (
            "test_net: 'a'\ntest_net: 'b'\ntest_net: 'c'",
            [
                "line 5: only the first test_net is used",
                "line 6: only the first test_net is used",
            ],
        ),
    ],
)
def test_an_ignored_setting_causes_a_warning(tmp_path: Path, text: str, told: list[str]) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(GOOD + text)
    found = [str(warning) for warning in solver.read(path).warnings]
    assert len(found) == len(told)
    assert all(one.startswith(other) for one, other in zip(found, told, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "random_seed: -1",
        "snapshot_format: BINARYPROTO",
        "snapshot_after_train: true",
        "min_lr: 0",
        "local_gw_ratio: 0.001",
        "solver_mode: CPU device_id: 1 debug_info: true",
        "test_net: 'a' test_iter: 9 eval_type: 'detection'",
    ],
)
def test_defaults_and_irrelevant_settings_cause_no_warning(tmp_path: Path, text: str) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(GOOD + text)
    assert not solver.read(path).warnings


def test_an_old_solver_file_names_its_type_by_number(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text('solver_type: RMSPROP base_lr: 0.1 lr_policy: "fixed" max_iter: 5\n')
    assert solver.read(path).message.type == "RMSProp"
