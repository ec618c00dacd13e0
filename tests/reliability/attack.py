"""What attackers cost the others: good photographs with and without one attacker in four.

    python -m tests.reliability.attack --rounds 5 --seconds 30 --cases ../shared/cases/images

Sixteen clients, each with one request at a time. A round has three loads, which take turns because
the speed of a machine changes: sixteen clients that send good photographs; twelve of them, while
four send nothing; and the twelve, while four attackers send the files of `pictures.made` and of
--cases, one after the other. It prints one JSON object: p50 and p99 of the good photographs in
milliseconds, medians over the rounds, and the median ratio within a round of p99 beside attackers
to p99 without: `p99_ratio` to sixteen good clients, `p99_ratio_to_fewer` to the twelve alone.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.reliability import processes
from tests.reliability.clients import percentile
from tests.reliability.hostile import SAMPLE
from tests.reliability.pictures import Good, Hostile, ask_alone, made, stored
from tests.reliability.service import Process, running

GOOD, ATTACKERS = 12, 4


@dataclass
class Load:
    """What one load did to the good clients."""

    seconds: list[float] = field(default_factory=list)
    """Of each good photograph that was answered rightly."""
    wrong: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    """Of the attackers."""
    memory_mb: float = 0.0
    """The most that the service held, sampled each half second."""

    def milliseconds(self, share: float) -> float:
        """A percentile."""
        return round(1000 * (percentile(self.seconds, share) or 0), 1)


async def load(
    process: Process,
    good: Sequence[Good],
    attacks: Iterator[Hostile] | None,
    seconds: float,
    clients: int = GOOD,
) -> Load:
    """So many good clients for so long, with four attackers if there are attacks."""
    found = Load()
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=GOOD + ATTACKERS)

    async def sender(session: httpx.AsyncClient, number: int) -> None:
        for turn in itertools.count(number):
            if (began := time.monotonic()) >= until:
                return
            photo = good[turn % len(good)]
            try:
                answer = await session.post("/detect", content=photo.data)
                right = answer.status_code == 200 and photo.is_answer(answer.json())
            except httpx.TransportError:
                right = False
            if right:
                found.seconds.append(time.monotonic() - began)
            else:
                found.wrong += 1

    async def attacker(session: httpx.AsyncClient) -> None:
        assert attacks is not None
        while time.monotonic() < until:
            file = next(attacks)
            headers = {"Content-Type": file.content_type}
            url = f"/detect{file.query}"
            try:
                answer = await session.post(url, content=file.data, headers=headers)
                found.statuses[str(answer.status_code)] += 1
            except httpx.TransportError as error:
                found.statuses[type(error).__name__] += 1

    async def watch() -> None:
        while time.monotonic() < until:
            held = await asyncio.to_thread(processes.held, process.pid)
            found.memory_mb = max(found.memory_mb, held.memory_mb)
            await asyncio.sleep(0.5)

    async with httpx.AsyncClient(base_url=process.url, timeout=120, limits=limits) as session:
        attackers = [attacker(session) for _ in range(ATTACKERS if attacks else 0)]
        await asyncio.gather(watch(), *(sender(session, n) for n in range(clients)), *attackers)
    return found


def measure(
    process: Process,
    good: Sequence[Good],
    files: Sequence[Hostile],
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """The loads in turns, after a round that is not counted; the figures as a JSON object."""
    attacks = itertools.cycle(files)
    loads: dict[str, tuple[Iterator[Hostile] | None, int]] = {
        "without": (None, GOOD + ATTACKERS),
        "fewer": (None, GOOD),
        "attacked": (attacks, GOOD),
    }
    found: dict[str, list[Load]] = {name: [] for name in loads}
    for _ in range(rounds + 1):
        for name, (sent, clients) in loads.items():
            found[name].append(asyncio.run(load(process, good, sent, seconds, clients)))
            process.wait_until_idle(180)
    for each in found.values():
        del each[0]

    def ratio(name: str) -> float:
        pairs = zip(found["attacked"], found[name], strict=True)
        return round(
            statistics.median(
                a.milliseconds(0.99) / max(b.milliseconds(0.99), 0.1) for a, b in pairs
            ),
            2,
        )

    return {
        "rounds": rounds,
        "seconds": seconds,
        "attacks": len(files),
        **{name: summary(each) for name, each in found.items()},
        "p99_ratio": ratio("without"),
        "p99_ratio_to_fewer": ratio("fewer"),
        "restarts": int(not process.is_running),
    }


def summary(loads: Sequence[Load]) -> dict[str, Any]:
    """The figures of one load over its rounds."""
    statuses = sum((each.statuses for each in loads), Counter[str]())
    return {
        "good": sum(len(each.seconds) for each in loads),
        "wrong": sum(each.wrong for each in loads),
        "p50_ms": round(statistics.median(each.milliseconds(0.5) for each in loads), 1),
        "p99_ms": round(statistics.median(each.milliseconds(0.99) for each in loads), 1),
        "memory_mb": max(each.memory_mb for each in loads),
        "attackers": dict(statuses.most_common()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30, help="of each load in each round")
    parser.add_argument("--scale", type=int, default=5, help="how large the made files are")
    parser.add_argument("--cases", type=Path, help="a folder of files to send too")
    arguments = parser.parse_args()
    files = made(arguments.scale) + (stored(arguments.cases) if arguments.cases else [])
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), {}) as (process, _):
        good = ask_alone(process.url, {"sample": SAMPLE.read_bytes()})
        found = measure(process, good, files, arguments.rounds, arguments.seconds)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
