"""The collectors of one service process."""

import itertools

import pytest
from prometheus_client import generate_latest

from detection.limits import MAX_BATCH
from detection.timings import STAGES, Timings
from service.errors import DOCUMENTED, ClientGone
from service.metrics import BATCHES, SECONDS, Metrics


def test_the_buckets_run_from_1_ms_to_8_s_by_factors_of_2() -> None:
    assert SECONDS[0] == 0.001
    assert SECONDS[-1] == 8.192
    assert all(b == 2 * a for a, b in itertools.pairwise(SECONDS))


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_the_largest_bucket_of_batches_is_the_largest_batch() -> None:
    assert (BATCHES[0], BATCHES[-1]) == (1, MAX_BATCH)


def test_every_reason_and_stage_is_at_zero_from_the_start() -> None:
    """A counter that first appears at 1 shows no increase to an alert."""
    metrics = Metrics()
    for slug in (*(kind.slug for kind in DOCUMENTED), ClientGone.slug):
        assert value(metrics, "sfd_rejected_total", reason=slug) == 0
    for stage in STAGES:
        assert value(metrics, "sfd_stage_seconds_count", stage=stage) == 0


def test_each_stage_of_an_image_is_observed_with_its_own_time() -> None:
    metrics = Metrics()
    times = dict(zip(STAGES, (0.1, 0.2, 0.3, 0.4, 0.5, 1.5), strict=True))
    metrics.observe(Timings(**times))
    metrics.observe(Timings(**times))
    for stage, seconds in times.items():
        assert value(metrics, "sfd_stage_seconds_count", stage=stage) == 2
        assert value(metrics, "sfd_stage_seconds_sum", stage=stage) == pytest.approx(2 * seconds)


def test_two_sets_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.faces.inc(3)
    assert (value(one, "sfd_faces_total"), value(other, "sfd_faces_total")) == (3, 0)


def test_the_process_itself_is_measured_too() -> None:
    text = generate_latest(Metrics().registry).decode()
    assert "python_gc_objects_collected_total" in text
    assert "python_info{" in text
