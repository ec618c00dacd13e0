"""Open loop: requests leave at times that are fixed before, whether or not others are answered.

wrk's clients wait for their answers, so a slow server gets fewer requests, and the waiting of those
that were not sent is missing from its latencies ("coordinated omission"). Here a latency counts
from the time at which the request was due. Arrivals are a Poisson process: many users who do not
know of each other.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np

from benchmarks.servers.running import HEADERS

IN_TIME_S = 1.0
"""An answer within this time counts as in time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one request; seconds count from the time at which it was due."""

    sent_s: float
    """How late it was sent: above some milliseconds, the generator itself was too slow."""
    status: int
    """0 if there was no answer."""
    seconds: float


def schedule(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of arrival, in seconds from the start: a Poisson process of `rate` per second."""
    chance = random.Random(seed)
    times: list[float] = []
    now = chance.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += chance.expovariate(rate)
    return times


def send(
    url: str, files: Sequence[bytes], times: Sequence[float], patience: float
) -> list[Outcome]:
    """Post the files in turn at these times.

    Requests without an answer `patience` seconds after the last arrival are given up.
    """
    return asyncio.run(_send(url, files, times, patience))


async def _send(
    url: str, files: Sequence[bytes], times: Sequence[float], patience: float
) -> list[Outcome]:
    start = time.perf_counter()
    end = max(times, default=0.0) + patience

    async def one(session: aiohttp.ClientSession, due: float, data: bytes) -> Outcome:
        sent = time.perf_counter() - start
        status = 0
        try:
            async with asyncio.timeout(max(0.0, end - sent)):
                async with session.post(url, data=data, headers=HEADERS) as answer:
                    await answer.read()
                    status = answer.status
        except (aiohttp.ClientError, OSError):
            # Also TimeoutError. The server closed the connection, or it is too late.
            pass
        return Outcome(sent - due, status, time.perf_counter() - start - due)

    # No limit to the connections: a request never waits for another one.
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        tasks = []
        for due, data in zip(times, itertools.cycle(files), strict=False):
            await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
            tasks.append(group.create_task(one(session, due, data)))
    return [task.result() for task in tasks]


def summary(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The counts, and percentiles of the latency of those answered with 200, in milliseconds."""
    answered = np.asarray([each.seconds for each in outcomes if each.status == 200])
    refused = np.asarray([each.seconds for each in outcomes if each.status not in (0, 200)])
    late = [each.sent_s for each in outcomes]
    return {
        "seconds": seconds,
        "requests": len(outcomes),
        "answered": len(answered),
        "in_time": int((answered <= IN_TIME_S).sum()),
        "in_time_per_s": float((answered <= IN_TIME_S).sum()) / seconds,
        "refused": len(refused),
        "unanswered": sum(each.status == 0 for each in outcomes),
        **{f"p{share}_ms": _percentile(answered, share) for share in (50, 95, 99)},
        "refused_p50_ms": _percentile(refused, 50),
        "generator_late_p99_ms": _percentile(np.asarray(late), 99),
    }


def _percentile(seconds: "np.typing.NDArray[np.float64]", share: float) -> float | None:
    return float(np.percentile(seconds, share)) * 1000 if len(seconds) else None
