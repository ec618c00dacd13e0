"""Clients of many kinds, and the ledger of what each sent and got."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from tests.reliability.pictures import Good

GOOD, POISON, BROKEN, SLOW, LEAVING = "good", "poison", "broken", "slow", "leaving"
MIX = {GOOD: 86, POISON: 4, BROKEN: 4, SLOW: 2, LEAVING: 4}
"""How many of a hundred requests are of each kind."""
EXPECTED = {GOOD: 200, SLOW: 200, POISON: 500, BROKEN: 400}
"""The status of each kind; 503 is an answer too."""
DRIP_S = 2.0
"""How long a slow client takes to send a photograph."""
MOST_IN_FLIGHT = 200


@dataclass
class Sent:
    """One request and what came of it."""

    id: str
    kind: str
    began: float
    """By the monotonic clock, as `ended`."""
    ended: float = 0.0
    status: int | None = None
    """None where no answer came."""
    is_right: bool = False
    """Whether the answer has the request's own id, and the photograph's own faces."""
    refused: bool = False
    """Whether nobody listened: the request was never accepted."""
    error: str = ""


@dataclass
class Clients:
    """Sends requests of all kinds at a rate, and keeps the ledger."""

    url: str
    poison: bytes
    good: Sequence[Good] = ()
    broken: bytes = b"\xff\xd8\xff no picture"
    chance: random.Random = field(default_factory=lambda: random.Random(16))
    sent: list[Sent] = field(default_factory=list)
    not_sent: int = 0
    """Left out because too many requests waited already."""
    rate: float = 0.0
    highest_rate: float = 0.0
    """Requests each second; `set_rate(0)` pauses."""
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def set_rate(self, rate: float) -> None:
        """Send so many requests each second from now on; 0 pauses."""
        self.rate = rate
        self.highest_rate = max(self.highest_rate, rate)

    async def measure(self, seconds: float, clients: int = 8) -> float:
        """Good photographs each second that the service answers to so many clients."""
        until = time.monotonic() + seconds
        before = len(self.sent)
        async with self._session() as session:

            async def one() -> None:
                while time.monotonic() < until:
                    await self._ask(session, self._note(GOOD))

            await asyncio.gather(*(one() for _ in range(clients)))
        answered = sum(each.status == 200 for each in self.sent[before:])
        return answered / seconds

    async def send_at_rate(self, stop: asyncio.Event) -> None:
        """Send at `rate` until `stop`, whether or not answers come; then wait for them."""
        due = time.monotonic()
        kinds = self._kinds()
        async with self._session() as session:
            while not stop.is_set():
                due = max(due + 1 / (self.rate or 10), time.monotonic() - 1)
                await asyncio.sleep(max(0, due - time.monotonic()))
                if not self.rate:
                    continue
                if len(self._running) >= MOST_IN_FLIGHT:
                    self.not_sent += 1
                    continue
                kind = next(kinds)
                task = asyncio.create_task(self._one(session, self._note(kind)))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            await self.rest()

    def _kinds(self) -> Iterator[str]:
        """One of each kind; then the proportions of MIX in each fifty requests, in random order."""
        yield from MIX
        fifty = [kind for kind, share in MIX.items() for _ in range(share // 2)]
        while True:
            self.chance.shuffle(fifty)
            yield from fifty

    async def rest(self) -> None:
        """Wait for the answers of everything that was sent."""
        while self._running:
            await asyncio.wait(list(self._running))

    def _session(self) -> httpx.AsyncClient:
        # The kept connections count as descriptors of the service, so there are few.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=4)
        return httpx.AsyncClient(base_url=self.url, timeout=60, limits=limits, trust_env=False)

    def _note(self, kind: str) -> Sent:
        self.sent.append(Sent(f"soak-{len(self.sent)}", kind, time.monotonic()))
        return self.sent[-1]

    async def _one(self, session: httpx.AsyncClient, sent: Sent) -> None:
        if sent.kind in (SLOW, LEAVING):
            await self._raw(sent)
        else:
            await self._ask(session, sent)

    async def _ask(self, session: httpx.AsyncClient, sent: Sent) -> None:
        photo = self.chance.choice(self.good)
        bodies = {GOOD: photo.data, POISON: self.poison, BROKEN: self.broken}
        headers = {"X-Request-ID": sent.id}
        if self.chance.random() < 0.5:
            headers["Connection"] = "close"
        try:
            answer = await session.post("/detect", content=bodies[sent.kind], headers=headers)
        except httpx.ConnectError as error:
            sent.refused, sent.error = True, repr(error)
        except httpx.TransportError as error:
            sent.error = repr(error)
        else:
            sent.status = answer.status_code
            sent.is_right = answer.headers.get("x-request-id") == sent.id
            if sent.kind == GOOD and answer.status_code == 200:
                sent.is_right &= photo.is_answer(answer.json())
            if answer.status_code == 503:
                sent.is_right &= "retry-after" in answer.headers
        sent.ended = time.monotonic()

    async def _raw(self, sent: Sent) -> None:
        """A client that sends its photograph in drips, or leaves before it reads the answer."""
        photo = self.chance.choice(self.good)
        parts = urlsplit(self.url)
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError as error:
            sent.refused, sent.error, sent.ended = True, repr(error), time.monotonic()
            return
        try:
            head = (
                f"POST /detect HTTP/1.1\r\nHost: x\r\nX-Request-ID: {sent.id}\r\n"
                f"Connection: close\r\nContent-Length: {len(photo.data)}\r\n\r\n"
            )
            writer.write(head.encode())
            if sent.kind == SLOW:
                step = len(photo.data) // 20 + 1
                for start in range(0, len(photo.data), step):
                    writer.write(photo.data[start : start + step])
                    await writer.drain()
                    await asyncio.sleep(DRIP_S / 20)
                async with asyncio.timeout(60):
                    _read(await reader.read(), sent, photo)
            else:
                # Before the head has gone, with half the photograph, or behind all of it.
                share = self.chance.choice([0.0, 0.5, 1.0])
                writer.write(photo.data[: int(len(photo.data) * share)])
                await writer.drain()
                await asyncio.sleep(self.chance.choice([0.0, 0.02, 0.1]))
        except (OSError, TimeoutError, ValueError) as error:
            sent.error = repr(error)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            sent.ended = time.monotonic()


def _read(answer: bytes, sent: Sent, photo: Good) -> None:
    """Note an answer that came as bytes; ValueError if it is none."""
    head, _, body = answer.partition(b"\r\n\r\n")
    sent.status = int(head.split(b" ", 2)[1]) if head else None
    if sent.status is None:
        raise ValueError("the connection was closed without an answer")
    sent.is_right = f"x-request-id: {sent.id}\r\n".encode() in head.lower() + b"\r\n"
    if sent.status == 200:
        sent.is_right &= photo.is_answer(json.loads(body))


def percentile(values: Sequence[float], share: float) -> float | None:
    """A percentile; None of nothing."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


def counted(sent: Sequence[Sent]) -> dict[str, dict[str, int]]:
    """How many of each kind got each status."""
    found: dict[str, Counter[str]] = {}
    for each in sent:
        outcome = "refused" if each.refused else str(each.status or "no answer")
        found.setdefault(each.kind, Counter())[outcome] += 1
    return {kind: dict(found[kind].most_common()) for kind in MIX if kind in found}
