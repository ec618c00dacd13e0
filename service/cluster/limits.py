"""Ray's limits for a replica, derived from the settings so that they fit each other.

    client -> proxy -> replica -> batcher -> inference

Ray knows requests; the batcher knows images and what they cost. So the replica must refuse first,
and Ray must let through whatever a replica might accept.
"""

import math
from dataclasses import dataclass

from detection.errors import StartError
from detection.tuning import ACCELERATOR_BATCH
from service import pace
from service.settings import HANG_S, Settings

SPARE = 64 + pace.MOST
"""Requests that a replica takes beside those in its batcher: uploads, pages, probes, and refusals
that wait."""
BUSY = 2
"""Requests for each thread: one in inference, and one that is decoded meanwhile."""
START_S = 60.0
"""The longest time that a request waits at a proxy for a replica that starts."""
RETRY_S = 1
"""Seconds after which a client may try again when it was Ray that refused its request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What Ray must be told. Times are in seconds, and requests are counted for each replica."""

    max_ongoing_requests: int
    """Above everything that the batcher can hold: a replica refuses before Ray does."""
    max_queued_requests: int
    """For each proxy: the requests that wait there while no replica can take them."""
    target_ongoing_requests: int
    """More than this on average, and the autoscaler adds a replica."""
    graceful_shutdown_timeout_s: float
    """Not below SFD_SHUTDOWN_GRACE_S."""
    proxy_timeout_s: float
    """Above SFD_REQUEST_TIMEOUT_S: the replica's own 504 comes before Ray's."""
    look_back_period_s: float = 10.0
    """Ongoing requests are averaged over this time,"""
    upscale_delay_s: float = 10.0
    """must be too many for this time, because a replica needs seconds to start,"""
    downscale_delay_s: float = 300.0
    """or too few for this one, because starting again costs more than waiting."""
    health_check_period_s: float = 5.0
    health_check_timeout_s: float = 30.0
    """Generous: a replica whose cores are busy is not dead."""


def derive(settings: Settings) -> Limits:
    """The limits for replicas with these settings, whose threads are those of `threads_for`."""
    workers = settings.threads if settings.workers == "auto" else settings.workers
    batch = ACCELERATOR_BATCH if settings.max_batch == "auto" else settings.max_batch
    # Measured batches are mostly of one image on a CPU.
    at_once = workers * (1 if settings.max_batch == "auto" else settings.max_batch)
    # Each model has a batcher of its own.
    accepted = len(settings.served_models) * (settings.queue_limit + workers * batch)
    return Limits(
        max_ongoing_requests=accepted + SPARE,
        max_queued_requests=accepted + SPARE,
        target_ongoing_requests=BUSY * max(settings.threads, at_once),
        graceful_shutdown_timeout_s=settings.shutdown_grace_s + HANG_S,
        proxy_timeout_s=settings.request_timeout_s + START_S,
    )


def threads_for(num_cpus: float) -> int:
    """SFD_THREADS of a replica to which Ray gives `num_cpus`; a fraction is rounded up.

    Ray sets OMP_NUM_THREADS, which onnxruntime ignores, and counts CPUs without binding anything to
    them. So the number of threads is what keeps replicas of one machine apart.
    """
    if not num_cpus > 0:
        raise StartError(f"num_cpus: must be a number above 0, not {num_cpus:g}")
    return math.ceil(num_cpus)
