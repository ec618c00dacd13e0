"""The metrics and traces of a detector's work."""

import pytest

from detection.observer import ImageDone
from detection.timings import Timings
from service import tracing
from service.metrics import Metrics
from service.observer import ServiceObserver

DONE = ImageDone(
    model="cells",
    width=640,
    height=480,
    tiles=5,
    faces=3,
    batch_size=4,
    looks=2,
    timings=Timings(0.01, 0.02, 0.03, 0.04, 0.05, 0.15),
    waited=0.005,
)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_an_image_counts_its_faces_its_pixels_and_its_stages() -> None:
    metrics = Metrics()
    ServiceObserver(metrics).image_done(DONE)
    assert value(metrics, "sfd_faces_total") == 3
    assert value(metrics, "sfd_image_pixels_sum") == 640 * 480
    assert value(metrics, "sfd_second_looks_total") == 1
    assert value(metrics, "sfd_stage_seconds_sum", stage="inference") == pytest.approx(0.04)


def test_a_batch_counts_its_size() -> None:
    metrics = Metrics()
    observer = ServiceObserver(metrics)
    for size in (1, 8):
        observer.batch_started(size)
    assert value(metrics, "sfd_batch_size_count") == 2
    assert value(metrics, "sfd_batch_size_sum") == 9


def test_an_image_becomes_a_span_with_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[tuple[object, ...]] = []
    monkeypatch.setattr(tracing, "record", lambda *given: recorded.append(given))
    ServiceObserver(Metrics()).image_done(DONE)
    assert recorded == [
        (
            DONE.timings,
            0.005,
            {
                "sfd.model": "cells",
                "sfd.image.width": 640,
                "sfd.image.height": 480,
                "sfd.tiles": 5,
                "sfd.looks": 2,
                "sfd.batch_size": 4,
                "sfd.faces": 3,
            },
        )
    ]
