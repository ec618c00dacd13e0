"""Twenty minutes of everything that can go wrong, at 80 % of the measured capacity.

    python -m tests.reliability.soak --minutes 20

One service after the other on one port, each ended by SIGTERM under load and started again:

    steady    measures the capacity; then clients of all kinds, killed decoders, jumps of the clock
    unread    the same with a stderr that nobody reads
    full      the same with logs and model store on a disk that is full
    again     a short time as at first

It prints one JSON object. `failures` lists whatever broke a promise: a request without its one
answer under its own id, a wrong answer, growth of memory, threads or descriptors, an exit code.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reliability import processes
from tests.reliability.clients import Clients
from tests.reliability.hostile import SAMPLE
from tests.reliability.lives import LIVES, Life, stderr_of
from tests.reliability.pictures import ask_alone, breaking
from tests.reliability.service import Process, free_port
from tests.reliability.verdict import figures

SHARE = 0.8
"""Of the measured capacity."""
KILL_S, JUMP_S, SAMPLE_S = 10.0, 15.0, 5.0
"""Seconds between two killed decoders, jumps of the clock, and samples; less in a short life."""
JUMPS = ("+1d", "-1d", "+3650d", "-3650d", "+0")
"""What the wall clock is set to, one after the other."""
GRACE_S = 30
FILL_S, FILLING = 1.0, 100
"""Seconds and clients of a burst that fills the service's pools of threads."""


@dataclass
class Soak:
    """A whole run."""

    folder: Path
    minutes: float
    environment: Mapping[str, str]
    photographs: Mapping[str, bytes]
    lives: Sequence[str] = tuple(LIVES)

    async def run(self) -> dict[str, Any]:
        """Run every life; the figures."""
        port = free_port()
        clients = Clients(f"http://127.0.0.1:{port}", breaking())
        stop = asyncio.Event()
        sending: asyncio.Task[None] | None = None
        share = sum(LIVES[name] for name in self.lives)
        seen: list[Life] = []
        capacity = 0.0
        for name in self.lives:
            seconds = 60 * self.minutes * LIVES[name] / share
            with stderr_of(name, self.folder, self.environment) as (life, stderr, environment):
                process = Process(port, environment, stderr)
                try:
                    await asyncio.to_thread(process.wait_until_ready)
                    life.ready = time.monotonic()
                    if sending is None:
                        clients.good = await asyncio.to_thread(
                            ask_alone, process.url, dict(self.photographs)
                        )
                        capacity = await clients.measure(max(5, seconds / 30))
                        await fill(process, clients)
                        clients.set_rate(SHARE * capacity)
                        sending = asyncio.create_task(clients.send_at_rate(stop))
                    await live(process, life, clients, seconds)
                except AssertionError as error:
                    life.broken = str(error)
                finally:
                    seen.append(life)
                    process.kill()
        clients.set_rate(0)
        stop.set()
        if sending is not None:
            await sending
        return figures(clients, seen, self.minutes, capacity)


async def fill(process: Process, clients: Clients) -> None:
    """Send bursts until two in a row start no more threads.

    Its pools start a thread only while all others are busy, so a single burst on a busy machine may
    start none. Once the pools are full, more threads are a leak.
    """
    most = quiet = 0
    while quiet < 2:
        await clients.measure(FILL_S, FILLING)
        threads = processes.held(process.pid).threads
        quiet = 0 if threads > most else quiet + 1
        most = max(most, threads)


async def live(process: Process, life: Life, clients: Clients, seconds: float) -> None:
    """Let one service live for so long, then end it under load."""
    until = time.monotonic() + seconds
    # A sixth of the time warms up the pools and the allocator.
    for part in (seconds / 6, seconds) if life.name == "steady" else (seconds,):
        await disturb(process, life, clients, min(part, until - time.monotonic()))
        if life.name == "steady":
            rate = clients.rate
            clients.set_rate(0)
            await clients.rest()
            # The latest kill may have left no decoders, which come back with the next pictures.
            await clients.measure(FILL_S, FILLING)
            await asyncio.to_thread(process.wait_until_idle)
            life.rest.append(processes.held(process.pid))
            clients.set_rate(rate)
    # So that requests are under way.
    await asyncio.sleep(1)
    life.ending = time.monotonic()
    process.terminate()
    life.exit_code = await asyncio.to_thread(process.exit_code, GRACE_S + 10)
    life.ended = time.monotonic()


async def disturb(process: Process, life: Life, clients: Clients, seconds: float) -> None:
    """Kill decoders, let the clock jump, and take samples, for so long."""
    until = time.monotonic() + seconds
    kill_at = jump_at = sample_at = 0.0
    while (now := time.monotonic()) < until and process.is_running:
        if now >= sample_at:
            sample_at = now + min(SAMPLE_S, seconds / 4)
            life.samples.append(await asyncio.to_thread(processes.held, process.pid))
        if now >= kill_at:
            kill_at = now + min(KILL_S, seconds / 4)
            if found := await asyncio.to_thread(processes.decoders, process.pid):
                with suppress(ProcessLookupError):
                    os.kill(clients.chance.choice(found), signal.SIGKILL)
                    life.kills.append(time.monotonic())
        if now >= jump_at and life.clock is not None:
            jump_at = now + min(JUMP_S, seconds / 4)
            life.clock.write_text(JUMPS[life.jumps % len(JUMPS)])
            life.jumps += 1
        await asyncio.sleep(0.1)


def main() -> None:
    """Run the soak, print its figures, and exit with 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--lives", nargs="+", choices=LIVES, default=list(LIVES))
    arguments = parser.parse_args()
    photographs = {"sample": SAMPLE.read_bytes()}
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), arguments.minutes, {}, photographs, arguments.lives)
        found = asyncio.run(soak.run())
    print(json.dumps(found, indent=1))
    sys.exit(1 if found["failed"] else 0)


if __name__ == "__main__":
    main()
