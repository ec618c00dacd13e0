"""Fetches an image with GET, over a connection to a checked address."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import h11

from detection.deadline import until
from detection.errors import RequestError, Timeout
from service.body import Held
from service.errors import FetchFailed, HostNotAllowed, InvalidParameter, PayloadTooLarge
from service.fetching import urls
from service.fetching.addresses import is_allowed
from service.fetching.urls import Url
from service.metrics import Metrics
from sfd.distribution import VERSION

log = logging.getLogger(__name__)

REDIRECTS = 3
"""The most redirects to follow, each to a listed host."""
AT_ONCE = 32
"""The most images to fetch at the same time, over all requests."""
EACH = 4
"""The most of them for one request, so that one with slow hosts leaves places for others."""
CONNECT_S = 3.0
"""The longest wait for a connection to one address, with TLS; then the next address is tried."""
STALL_S = 10.0
"""The longest wait for the next bytes of an answer."""
_REDIRECTING = (301, 302, 303, 307, 308)

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# A look-up can't be stopped, so it has its own threads, where slow ones delay nothing else.
_LOOK_UPS = ThreadPoolExecutor(8, "sfd-look-up")


async def resolve(host: str, port: int) -> list[str]:
    """The addresses from the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().run_in_executor(
        _LOOK_UPS, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    )
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(slots=True)
class Budget:
    """The bytes that one request may still fetch, and the memory that counts them."""

    max_bytes: int
    held: Held
    fetched: int = 0

    def expect(self, count: int) -> None:
        """Raise PayloadTooLarge if this many more bytes are too many."""
        if self.fetched + count > self.max_bytes:
            raise PayloadTooLarge(
                "the images and the body of the request together are larger than SFD_MAX_BYTES"
            )

    def add(self, count: int) -> None:
        """Count received bytes. Raises PayloadTooLarge or Overloaded."""
        self.expect(count)
        self.held.add(count)
        self.fetched += count


@dataclass(eq=False)
class Fetcher:
    """Fetches images from the hosts of SFD_FETCH_HOSTS."""

    allowed: Sequence[str]
    private: bool
    metrics: Metrics
    resolve: Resolve = resolve
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def fetch_all(
        self, texts: Sequence[str], deadline: float, budget: Budget
    ) -> list[bytes | RequestError]:
        """The file of each URL, or its problem; at most `EACH` are fetched at the same time."""
        share = asyncio.Semaphore(EACH)

        async def one(text: str) -> bytes | RequestError:
            try:
                return await self.fetch(text, deadline, budget, share)
            except RequestError as problem:
                return problem

        return list(await asyncio.gather(*map(one, texts)))

    async def fetch(
        self, text: str, deadline: float, budget: Budget, share: asyncio.Semaphore
    ) -> bytes:
        """The file at a URL, before `deadline` of the event loop's clock.

        It takes a place of its request's `share`, then one of all places. Raises InvalidParameter,
        HostNotAllowed, FetchFailed, PayloadTooLarge, Overloaded, Timeout.
        """
        async with AsyncExitStack() as held:
            for places in (share, self.places):
                # Not counted if it comes too late: this fetch has not begun.
                await until(deadline, held.enter_async_context(places))
            return await self._counted(text, deadline, budget)

    async def _counted(self, text: str, deadline: float, budget: Budget) -> bytes:
        try:
            data = await until(deadline, self._follow(text, budget))
        except HostNotAllowed:
            self.metrics.fetches.labels("refused").inc()
            raise
        except (FetchFailed, PayloadTooLarge, Timeout) as problem:
            self.metrics.fetches.labels(problem.slug).inc()
            raise
        self.metrics.fetches.labels("fetched").inc()
        return data

    async def _follow(self, text: str, budget: Budget) -> bytes:
        url = urls.parse(text)
        for _ in range(REDIRECTS + 1):
            urls.check(url, self.allowed)
            answer = await self._get(url, budget)
            if isinstance(answer, bytes):
                return answer
            try:
                following = urls.parse(url.join(answer.location))
            except (InvalidParameter, ValueError):
                raise FetchFailed(f"a redirect must lead to {urls.FORM}") from None
            if url.scheme == "https" and following.scheme == "http":
                raise FetchFailed("a redirect leads from https to http")
            url = following
        raise FetchFailed(f"there are more than {REDIRECTS} redirects")

    async def _get(self, url: Url, budget: Budget) -> "bytes | Redirect":
        addresses = await self._addresses(url)
        error: Exception | None = None
        for address in addresses:
            try:
                async with self._connected(url, address) as (reader, writer):
                    return await _exchange(url, reader, writer, budget)
            except OSError as problem:
                error = problem
        log.info("no image from %s: %s", url.host, error)
        raise FetchFailed(f"{url.authority}: {_reason(error)}")

    async def _addresses(self, url: Url) -> list[str]:
        """All addresses of a host. Refuses the host if one of them is not allowed."""
        try:
            found = await self.resolve(url.host, url.port)
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise FetchFailed(f"{url.host} has no address")
        for address in found:
            if not is_allowed(address, private=self.private):
                log.warning("%s has the address %s, which is not public", url.host, address)
                raise HostNotAllowed(f"{url.host} has an address that is not public")
        return found

    @asynccontextmanager
    async def _connected(self, url: Url, address: str) -> AsyncIterator[Streams]:
        """A connection to exactly this address; the name is not looked up again."""
        is_secure = url.scheme == "https"
        # TimeoutError is an OSError.
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                address,
                url.port,
                ssl=self.tls if is_secure else None,
                server_hostname=url.host if is_secure else None,
            )
        try:
            yield reader, writer
        finally:
            # Abort, because TLS would wait for the other side.
            writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Redirect:
    """The new location of an image."""

    location: str


def _reason(error: Exception | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not valid"
    if isinstance(error, ssl.SSLError):
        return "the TLS connection failed; does this port speak https?"
    return "no answer"


async def _exchange(
    url: Url, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: Budget
) -> bytes | Redirect:
    """Request a file; h11 limits the size of the answer's head."""
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method="GET",
        target=url.target,
        headers=[
            ("Host", url.authority),
            ("User-Agent", f"sfd/{VERSION}"),
            ("Accept", "image/*"),
            # Without compression, a few bytes can't become many.
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ],
    )
    ended = False
    try:
        writer.write(connection.send(request) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        data = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                received = await _read(url, reader)
                ended = not received
                connection.receive_data(received)
            elif isinstance(event, h11.Response):
                redirect = _judge(url, event, budget)
                if redirect is not None:
                    return redirect
            elif isinstance(event, h11.Data):
                budget.add(len(event.data))
                data += event.data
            elif isinstance(event, h11.EndOfMessage):
                return bytes(data)
            elif isinstance(event, h11.ConnectionClosed):
                raise FetchFailed(f"{url.authority}: the answer ended too early")
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        what = "ended too early" if ended else "is not valid HTTP"
        raise FetchFailed(f"{url.authority}: the answer {what}") from None


async def _read(url: Url, reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(STALL_S):
            return await reader.read(65536)
    except TimeoutError:
        raise FetchFailed(f"{url.authority} sent nothing for {STALL_S:g} s") from None


def _judge(url: Url, response: h11.Response, budget: Budget) -> Redirect | None:
    """Accept a 200, return a redirect, raise FetchFailed or PayloadTooLarge otherwise."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    status = response.status_code
    if status in _REDIRECTING and "location" in headers:
        return Redirect(headers["location"])
    if status != 200:
        raise FetchFailed(f"{url.authority} answered {status}")
    if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise FetchFailed(f"{url.authority}: the answer is compressed")
    length = headers.get("content-length", "")
    if length.isdecimal():
        budget.expect(int(length))
    return None
