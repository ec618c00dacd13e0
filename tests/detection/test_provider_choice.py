"""Which provider `auto` is where OpenVINO is installed. Its place takes the CPU provider here;
tests/detection/test_openvino.py has the real one.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from detection import provider_choice
from detection.errors import StartError
from detection.letterbox import Pixels
from detection.precision import Precision
from detection.predictions import Predictions
from detection.provider_choice import Choice, choose_provider, fastest
from detection.providers import ProviderName
from detection.session import Session, open_session
from detection.settings import DetectionSettings
from detection.tuning import BUDGET_S, Plan
from store import model as models
from store.model import Model

CPU, OPENVINO = ProviderName.CPU, ProviderName.OPENVINO


class Machine:
    """Sessions that take a made-up time, and whose scores are off by an error."""

    def __init__(self, model: Model, seconds: dict[ProviderName, float], error: float = 0) -> None:
        self.model = model
        self.seconds = seconds
        self.error = error
        self.opened: list[tuple[ProviderName, Precision]] = []
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def open(self, provider: ProviderName, precision: Precision) -> Session:
        self.opened.append((provider, precision))
        if provider not in self.seconds:
            raise StartError(f"{provider} does not load")
        real = open_session(self.model, CPU, 1, 1)
        machine = self

        class Timed(Session):
            def run(self, images: Sequence[Pixels]) -> list[Predictions]:
                machine.now += machine.seconds[provider]
                off = machine.error if provider is OPENVINO else 0
                return [Predictions(each.boxes, each.scores - off) for each in super().run(images)]

        fields = {field.name: getattr(real, field.name) for field in dataclasses.fields(real)}
        return Timed(**fields)

    def fastest(self, precision: Precision = Precision.FLOAT32) -> Choice:
        return fastest(self.model, precision, self.open, clock=self.clock)


@pytest.fixture
def model(store: Path) -> Model:
    return models.load(store / "cells")


@pytest.mark.parametrize(("seconds", "chosen"), [(0.01, OPENVINO), (0.03, CPU)])
def test_the_faster_provider_is_chosen(model: Model, seconds: float, chosen: ProviderName) -> None:
    found = Machine(model, {CPU: 0.02, OPENVINO: seconds}).fastest()
    assert found.provider is chosen
    assert found.reason == f"auto chose {chosen}: cpu 20.0 ms, openvino {seconds * 1000:.1f} ms"
    assert found.rejected is None


def test_a_provider_whose_faces_differ_is_not_chosen(model: Model) -> None:
    found = Machine(model, {CPU: 0.02, OPENVINO: 0.01}, error=0.1).fastest()
    assert found.provider is CPU
    assert "on openvino differ too much from those of float32" in str(found.rejected)


def test_a_provider_that_does_not_work_is_not_chosen(model: Model) -> None:
    found = Machine(model, {CPU: 0.02}).fastest()
    assert (found.provider, found.rejected) == (CPU, "openvino does not load")


def test_bfloat16_is_compared_with_float32_but_never_taken_from_the_cpu(model: Model) -> None:
    machine = Machine(model, {CPU: 0.001, OPENVINO: 0.01}, error=0.02)
    assert machine.fastest(Precision.BFLOAT16).provider is OPENVINO
    assert machine.opened == [(CPU, Precision.FLOAT32), (OPENVINO, Precision.BFLOAT16)]


def test_bfloat16_whose_faces_differ_stops_the_start(model: Model) -> None:
    machine = Machine(model, {CPU: 0.02, OPENVINO: 0.01}, error=0.1)
    with pytest.raises(
        StartError, match=r"SFD_PRECISION=bfloat16 does not work: .*differ too much"
    ):
        machine.fastest(Precision.BFLOAT16)


def test_the_rest_of_the_time_is_left_for_other_measurements(model: Model) -> None:
    assert Machine(model, {CPU: 0.02, OPENVINO: 0.03}).fastest().rest_s == pytest.approx(
        BUDGET_S - 3 * (0.02 + 0.03)
    )


def test_a_slow_machine_does_not_try_a_second_provider(model: Model) -> None:
    machine = Machine(model, {CPU: 0.3, OPENVINO: 0.01})
    found = machine.fastest()
    assert (found.provider, found.rest_s) == (CPU, 0)
    assert machine.opened == [(CPU, Precision.FLOAT32)]


@pytest.mark.parametrize(
    ("options", "cuda", "openvino"),
    [
        ({"provider": "cpu"}, False, True),
        ({"measure": False}, False, True),
        ({}, True, True),
        ({}, False, False),
    ],
)
def test_nothing_is_compared_where_there_is_no_choice(
    model: Model, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], cuda: bool,
    openvino: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(provider_choice, "has_cuda", lambda: cuda)
    monkeypatch.setattr(provider_choice, "has_openvino", lambda: openvino)
    measure = options.pop("measure", True)
    settings = DetectionSettings(**options)
    assert choose_provider(model, settings, measure=measure) == Choice(settings.provider)


def test_other_work_of_the_start_ends_before_providers_are_compared(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def compare(*_: object) -> Choice:
        order.append("compared")
        return Choice(CPU)

    monkeypatch.setattr(provider_choice, "has_openvino", lambda: True)
    monkeypatch.setattr(provider_choice, "fastest", compare)
    found = choose_provider(
        model, DetectionSettings(), measure=True, before_measuring=lambda: order.append("ended")
    )
    assert found == Choice(CPU)
    assert order == ["ended", "compared"]


def test_the_choice_is_explained_in_the_plan_and_in_the_fallback(model: Model) -> None:
    session = open_session(model, CPU, 1, 1)
    plan = Plan(1, 1, 1, "as set")
    explained, why = Choice(CPU, "auto chose cpu", "openvino differs").explain(session, plan)
    assert (explained.fallback, why.reason) == ("openvino differs", "auto chose cpu; as set")
    assert Choice(CPU).explain(session, plan) == (session, plan)
