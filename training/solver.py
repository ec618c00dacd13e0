"""Caffe's solvers: the learning rate of each iteration, and the update of each type.

Sources: `src/caffe/solvers/*.cpp` and `SGDSolver::GetLearningRate` in `sgd_solver.cpp`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert.caffe import prototxt
from convert.caffe.caffe_pb2 import SolverParameter
from convert.caffe.network import CaffeError, Diagnostic
from convert.caffe.prototxt import Parsed

_OLD_TYPES = {
    SolverParameter.SGD: "SGD",
    SolverParameter.NESTEROV: "Nesterov",
    SolverParameter.ADAGRAD: "AdaGrad",
    SolverParameter.RMSPROP: "RMSProp",
    SolverParameter.ADADELTA: "AdaDelta",
    SolverParameter.ADAM: "Adam",
}
TYPES = frozenset(_OLD_TYPES.values())
POLICIES = frozenset(["fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"])
AP_VERSIONS = frozenset(["11point", "MaxIntegral", "Integral"])

_SUPPORTED = frozenset(
    [
        *("net", "train_net", "test_net", "test_interval", "test_initialization", "ap_version"),
        *("base_lr", "lr_policy", "gamma", "power", "stepsize", "stepvalue", "max_iter"),
        *("type", "solver_type", "momentum", "momentum2", "rms_decay", "delta", "iter_size"),
        *("weight_decay", "regularization_type", "clip_gradients"),
        *("snapshot", "snapshot_prefix", "display", "average_loss"),
    ]
)
_IRRELEVANT = frozenset(
    [
        # Where Caffe computes, what it prints, and how it shares work among several GPUs.
        *("solver_mode", "device_id", "debug_info", "show_per_class_result", "layer_wise_reduce"),
        # Validation always uses all held-out images, and measures detections.
        *("test_iter", "eval_type"),
    ]
)
_WARNINGS = {
    "random_seed": "random_seed is ignored: use --seed",
    "snapshot_after_train": "snapshot_after_train is ignored: the last weights are always written",
    "snapshot_diff": "snapshot_diff is ignored: snapshots have no gradients",
    "snapshot_format": "snapshot_format is ignored: snapshots are binary caffemodels",
    "test_compute_loss": "test_compute_loss is ignored: tests measure average precision alone",
}
"""Settings that are ignored, with what happens instead."""
_ADVICE = {
    "net_param": ": write it to a file and name that as train_net",
    "train_net_param": ": write it to a file and name that as train_net",
    "test_net_param": ": write it to a file and name that as test_net",
    "weights": ": give the caffemodel as --weights",
}


@dataclass(frozen=True)
class TrainedParameter:
    """A parameter with its factors on the learning rate and the weight decay."""

    name: str
    tensor: Tensor
    lr_mult: float = 1.0
    decay_mult: float = 1.0


def read(path: Path) -> Parsed[SolverParameter]:
    """Read a solver file; CaffeError for wrong values and for settings that are not supported.

    Settings that can be ignored are among the warnings.
    """
    parsed = prototxt.read(path, SolverParameter)
    solver = parsed.message
    if not solver.HasField("type") and solver.HasField("solver_type"):
        solver.type = _OLD_TYPES[solver.solver_type]
    refused, warned = _unsupported(parsed)
    problems = [*_wrong(parsed), *refused]
    if problems:
        raise CaffeError(str(path), problems)
    return replace(parsed, warnings=(*parsed.warnings, *warned))


def _wrong(parsed: Parsed[SolverParameter]) -> list[Diagnostic]:
    """Problems with the values."""
    solver = parsed.message
    checks = [
        ("type", solver.type in TYPES, f"type {solver.type!r}: {_choose(TYPES)}"),
        (
            "lr_policy",
            solver.lr_policy in POLICIES,
            f"lr_policy {solver.lr_policy!r}: {_choose(POLICIES)}",
        ),
        ("base_lr", 0 < solver.base_lr < math.inf, "base_lr must be positive and finite"),
        ("max_iter", solver.max_iter > 0, "max_iter must be positive"),
        ("iter_size", solver.iter_size > 0, "iter_size must be positive"),
        (
            "stepsize",
            solver.lr_policy != "step" or solver.stepsize > 0,
            "stepsize must be positive",
        ),
        (
            "regularization_type",
            solver.regularization_type in ("L1", "L2"),
            "regularization_type: choose L1 or L2",
        ),
        *(
            (name, 0 <= getattr(solver, name) < 1, f"{name} must be at least 0 and below 1")
            for name in ("momentum", "momentum2", "rms_decay")
        ),
        *(
            (
                name,
                0 <= getattr(solver, name) < math.inf,
                f"{name} must be at least 0, and finite",
            )
            for name in ("weight_decay", "delta")
        ),
        ("power", math.isfinite(solver.power), "power must be finite"),
        (
            "gamma",
            math.isfinite(solver.gamma) and (solver.gamma >= 0 or solver.lr_policy == "sigmoid"),
            "gamma must be finite, and at least 0 with another lr_policy than sigmoid",
        ),
        (
            "momentum",
            solver.momentum == 0 or solver.type not in ("RMSProp", "AdaGrad"),
            f"momentum can't be used with {solver.type}",
        ),
        (
            "ap_version",
            solver.ap_version in AP_VERSIONS,
            f"ap_version {solver.ap_version!r}: {_choose(AP_VERSIONS)}",
        ),
    ]
    return [
        Diagnostic(message, next(iter(parsed.lines.get(name, ())), None))
        for name, holds, message in checks
        if not holds
    ]


def _unsupported(parsed: Parsed[SolverParameter]) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """Unsupported settings: those that are refused, and those that are ignored with a warning."""
    refused: list[Diagnostic] = []
    warned: list[Diagnostic] = []
    for name, lines in parsed.lines.items():
        if name in _SUPPORTED | _IRRELEVANT or _is_default(parsed.message, name):
            continue
        if name in _WARNINGS:
            warned.append(Diagnostic(_WARNINGS[name], lines[0]))
        else:
            message = f"the trainer does not support {name}{_ADVICE.get(name, '')}"
            refused.append(Diagnostic(message, lines[0]))
    others = parsed.lines.get("test_net", ())[1:]
    warned += [Diagnostic("only the first test_net is used", line) for line in others]
    return refused, warned


def _choose(names: Iterable[str]) -> str:
    return f"choose one of {', '.join(sorted(names))}"


def _is_default(solver: SolverParameter, name: str) -> bool:
    """Whether a setting repeats Caffe's default."""
    field = SolverParameter.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated or field.message_type:
        return False
    return bool(getattr(solver, name) == field.default_value)


def rate(solver: SolverParameter, iteration: int) -> float:
    """The learning rate at an iteration, counted from 0."""
    base, gamma = solver.base_lr, solver.gamma
    match solver.lr_policy:
        case "step":
            return float(base * gamma ** (iteration // solver.stepsize))
        case "exp":
            return float(base * gamma**iteration)
        case "inv":
            return float(base * (1 + gamma * iteration) ** -solver.power)
        case "multistep":
            return float(base * gamma ** sum(iteration >= value for value in solver.stepvalue))
        case "poly":
            return float(base * (1 - iteration / solver.max_iter) ** solver.power)
        case "sigmoid":
            # A greater exponent would overflow, and the rate is 0 in any case.
            exponent = min(-gamma * (iteration - solver.stepsize), 700.0)
            return float(base / (1 + math.exp(exponent)))
        case _:
            return float(base)


class Updater:
    """Applies a solver's updates to parameters, and keeps their histories."""

    def __init__(self, solver: SolverParameter, parameters: Iterable[TrainedParameter]) -> None:
        self.solver = solver
        self.parameters = [each for each in parameters if each.lr_mult != 0]
        self.history: dict[str, list[Tensor]] = {
            each.name: [torch.zeros_like(each.tensor) for _ in range(2)] for each in self.parameters
        }

    @torch.no_grad()
    def step(self, iteration: int) -> float:
        """One update from the summed gradients of `iter_size` batches; returns the rate.

        As in Caffe, the sum is clipped first, then divided by `iter_size`, then decayed.
        """
        solver = self.solver
        current = rate(solver, iteration)
        gradients = {
            each.name: each.tensor.grad for each in self.parameters if each.tensor.grad is not None
        }
        scale = 1 / solver.iter_size
        if solver.clip_gradients > 0:
            length = math.sqrt(sum(float(grad.square().sum()) for grad in gradients.values()))
            if length > solver.clip_gradients:
                scale *= solver.clip_gradients / length
        for each in self.parameters:
            if each.name not in gradients:
                continue
            grad = gradients[each.name] * scale
            decay = solver.weight_decay * each.decay_mult
            if decay:
                sign_only = solver.regularization_type == "L1"
                grad += decay * (each.tensor.sign() if sign_only else each.tensor)
            first, second = self.history[each.name]
            change = self._change(grad, current * each.lr_mult, first, second, iteration)
            each.tensor.sub_(change)
        return current

    def _change(
        self, grad: Tensor, local: float, first: Tensor, second: Tensor, iteration: int
    ) -> Tensor:
        """The value to subtract from the parameter. Changes the history in place."""
        solver = self.solver
        momentum, delta = solver.momentum, solver.delta
        match solver.type:
            case "SGD":
                return first.mul_(momentum).add_(grad, alpha=local)
            case "Nesterov":
                before = first.clone()
                first.mul_(momentum).add_(grad, alpha=local)
                return (1 + momentum) * first - momentum * before
            case "AdaGrad":
                first.add_(grad.square())
                return local * grad / (first.sqrt() + delta)
            case "RMSProp":
                first.mul_(solver.rms_decay).add_(grad.square(), alpha=1 - solver.rms_decay)
                return local * grad / (first.sqrt() + delta)
            case "AdaDelta":
                first.mul_(momentum).add_(grad.square(), alpha=1 - momentum)
                change = grad * ((second + delta) / (first + delta)).sqrt()
                second.mul_(momentum).add_(change.square(), alpha=1 - momentum)
                return local * change
            case _:
                beta = solver.momentum2
                first.mul_(momentum).add_(grad, alpha=1 - momentum)
                second.mul_(beta).add_(grad.square(), alpha=1 - beta)
                time = iteration + 1
                correction = math.sqrt(1 - beta**time) / (1 - momentum**time)
                return local * correction * first / (second.sqrt() + delta)

    def state(self) -> dict[str, Any]:
        """The state from which `restore` continues exactly."""
        return {"history": self.history}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state of the same parameters."""
        for name, tensors in self.history.items():
            for mine, saved in zip(tensors, state["history"][name], strict=True):
                mine.copy_(saved)
