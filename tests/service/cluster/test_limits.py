from collections.abc import Callable

import pytest

from detection.errors import StartError
from service.cluster.limits import derive, threads_for
from service.settings import HANG_S, Settings

Make = Callable[..., Settings]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"workers": "auto", "max_batch": "auto", "threads": 16},
        {"workers": 8, "max_batch": 64},
        {"queue_limit": 1, "max_images": 1},
        {"models": ("cells", "others")},
        {"request_timeout_s": 3600, "shutdown_grace_s": 0},
    ],
)
def test_a_replica_refuses_before_ray_does(settings: Make, options: dict[str, object]) -> None:
    made = settings(**options)
    limits = derive(made)
    workers = made.threads if made.workers == "auto" else made.workers
    batch = 8 if made.max_batch == "auto" else made.max_batch
    held = len(made.served_models) * (made.queue_limit + workers * batch)
    assert limits.max_ongoing_requests > held
    assert limits.max_queued_requests >= limits.max_ongoing_requests
    assert limits.proxy_timeout_s > made.request_timeout_s
    assert limits.graceful_shutdown_timeout_s >= made.shutdown_grace_s + HANG_S


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({"threads": 1, "workers": "auto", "max_batch": "auto"}, 2),
        ({"threads": 4, "workers": "auto", "max_batch": "auto"}, 8),
        ({"threads": 4, "workers": 2, "max_batch": 8}, 32),
    ],
)
def test_the_autoscaler_aims_at_one_request_in_inference_and_one_waiting(
    settings: Make, options: dict[str, object], target: int
) -> None:
    limits = derive(settings(**options))
    assert limits.target_ongoing_requests == target
    assert limits.target_ongoing_requests < limits.max_ongoing_requests


@pytest.mark.parametrize(("num_cpus", "threads"), [(0.5, 1), (1, 1), (1.5, 2), (2.0, 2), (8, 8)])
def test_the_threads_follow_the_cpus(num_cpus: float, threads: int) -> None:
    assert threads_for(num_cpus) == threads


@pytest.mark.parametrize("num_cpus", [0, -1, float("nan")])
def test_no_cpus_are_refused(num_cpus: float) -> None:
    with pytest.raises(StartError, match="num_cpus: must be a number above 0"):
        threads_for(num_cpus)
