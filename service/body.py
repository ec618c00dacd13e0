"""Reads request bodies and checks them while they stream in."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.types import Receive

from detection.errors import Overloaded, Timeout
from detection.sizes import readable_bytes
from service.errors import ClientGone, PayloadTooLarge


@dataclass(slots=True)
class BodyMemory:
    """The total size of the request bodies in memory, which many clients together can't exceed."""

    limit: int
    held: int = 0

    @contextmanager
    def hold(self) -> Iterator["Held"]:
        """Count the bytes of one request's body until its answer is ready."""
        held = Held(self)
        try:
            yield held
        finally:
            self.held -= held.count


@dataclass(slots=True)
class Held:
    """The bytes of one request that count against a BodyMemory."""

    memory: BodyMemory
    count: int = 0

    def add(self, count: int) -> None:
        """Count more bytes; Overloaded if all requests together hold too many."""
        if self.memory.held + count > self.memory.limit:
            raise Overloaded("too many uploads at the same time; try again later")
        self.memory.held += count
        self.count += count


async def stream(
    receive: Receive,
    headers: Mapping[str, str],
    *,
    max_bytes: int,
    deadline: float,
    held: Held,
) -> AsyncIterator[bytes]:
    """The chunks of a request's body, until `deadline` of the event loop's clock.

    Raises PayloadTooLarge as soon as the stated or the real length passes `max_bytes`, Timeout
    for a client that sends too slowly, Overloaded, and ClientGone.
    """
    stated = headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > max_bytes:
        raise _too_large(max_bytes)
    received = 0
    more = True
    while more:
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise Timeout("the request body did not arrive in time") from None
        if message["type"] == "http.disconnect":
            raise ClientGone("the client disconnected while it sent the body")
        chunk: bytes = message.get("body", b"")
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        held.add(len(chunk))
        if chunk:
            yield chunk
        more = message.get("more_body", False)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the request body is larger than {readable_bytes(max_bytes)}")
