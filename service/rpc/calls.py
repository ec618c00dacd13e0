"""What each call needs around its answer: key, request id, errors, metrics, log line and trace."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

import grpc.aio
from google.protobuf.message import Message
from starlette.datastructures import Headers

from detection.deadline import until
from detection.errors import Overloaded, RequestError, Timeout
from service import keys, logs, problems
from service.access import Answered, record
from service.body import Held
from service.errors import ClientGone, InvalidRequest
from service.middleware import request_ids
from service.openinference import protobuf
from service.openinference.inference_pb2 import DESCRIPTOR
from service.pace import Pace
from service.rpc import statuses
from service.rpc.turns import Turns
from service.runtime import Runtime
from service.tracing import Attributes, Ended, Tracing

SERVICE = DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

READING = 32
"""Most messages that arrive at the same time. The length of a message is known only when it is
there, so each may be as long as the limit."""

END_S = 1.0
"""How long gRPC may take to end a call of which nothing more is expected."""

QUIET_S = 0.1
"""After so long without a new call, the clients of a service that drains have gone elsewhere."""

CLOCKS_S = 0.5
"""A client whose deadline passes cancels its call, this much before the deadline here at most: the
client's clock started before the call arrived."""

Kind = TypeVar("Kind", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class Call:
    """A call that is being answered."""

    runtime: Runtime
    deadline: float
    """A time of the event loop's clock."""
    headers: Headers
    """Its metadata."""
    requests: AsyncIterator[bytes]
    peer: str
    """The client's address."""
    turns: Turns
    is_arriving: bool = False
    """Whether the message is awaited."""
    log_fields: dict[str, object] = field(default_factory=dict)
    trailing: list[tuple[str, str]] = field(default_factory=list)
    """Metadata to send after the answer."""

    async def read(self, kind: type[Kind], held: Held | None = None) -> Kind:
        """The message of the call, counted in `held`.

        Raises Timeout if it does not arrive in time, Overloaded, InvalidRequest, PayloadTooLarge.
        """
        data = await until(self.deadline, self._receive())
        if held is not None:
            held.add(len(data))
        return await asyncio.to_thread(protobuf.parse, data, kind)

    async def _receive(self) -> bytes:
        self.is_arriving = True
        async with self.turns.take(self.peer):
            async for data in self.requests:
                self.is_arriving = False
                return data
        # gRPC has ended the call, and is about to cancel it here, unless the client sent nothing.
        await asyncio.sleep(END_S)
        raise InvalidRequest("the call has no message")


@dataclass(frozen=True, slots=True)
class Method:
    """A call of the protocol."""

    name: str
    run: Callable[[Call], Awaitable[bytes]]
    """From the call to the bytes of its answer; raises RequestError."""
    is_open: bool = False
    """Whether it needs no API key."""


class Calls:
    """Answers calls of a runtime, and knows those that run."""

    def __init__(self, runtime: Runtime, tracing: Tracing | None) -> None:
        self.runtime = runtime
        self.tracing = tracing
        self._turns = Turns(READING)
        self._pace = Pace()
        self._running: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._cut_off = False
        self._latest = -math.inf
        """When the latest call came."""

    def handler(self, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
        """What gRPC calls for a method.

        For a stream of requests, which looks the same to the client: gRPC reads the message of a
        single request before its handler runs, so a client without a key could send one of any
        permitted length.
        """

        async def answer(requests: AsyncIterator[bytes], context: Context) -> bytes:
            return await self._answer(method, requests, context)

        return grpc.stream_unary_rpc_method_handler(answer)

    async def finish(self, seconds: float) -> None:
        """Return when the calls from before the drain have ended.

        Those that take longer are answered UNAVAILABLE.
        """
        if await self._is_idle_within(seconds):
            return
        self._cut_off = True
        for task in self._running:
            task.cancel()
        # A client that does not read its answer can't hold up the end.
        await self._is_idle_within(END_S)

    async def quiet(self) -> None:
        """Return when no new call has come for a while, or soon if they do not end."""
        loop = asyncio.get_running_loop()
        last = loop.time() + END_S
        while loop.time() < min(last, self._latest + QUIET_S):
            await asyncio.sleep(QUIET_S / 4)

    async def _is_idle_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        return self._idle.is_set()

    def _run(self) -> None:
        """Let `finish` wait for this call: for gRPC's own task, which ends when it has answered."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self._idle.clear()
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not self._running:
            self._idle.set()

    async def _answer(
        self, method: Method, requests: AsyncIterator[bytes], context: Context
    ) -> bytes:
        headers = _headers(context)
        request_id = request_ids.of(headers)
        token = logs.request_id.set(request_id)
        self._latest = asyncio.get_running_loop().time()
        if not self.runtime.draining:
            self._run()
        try:
            call = self._call(headers, requests, context)
            call.trailing.append((request_ids.HEADER.lower(), request_id))
            answer, problem = await self._observe(method, call, context)
            if problem is None:
                context.set_trailing_metadata(tuple(call.trailing))
                return answer
            trailing = (*call.trailing, *statuses.metadata(problem))
            if self._is_paced(problem, context):
                # Its traceback holds the message, whose memory counts as free by now.
                problem.__traceback__ = None
                await self._wait()
            await context.abort(statuses.of(problem), str(problem), trailing)
        finally:
            logs.request_id.reset(token)

    def _call(self, headers: Headers, requests: AsyncIterator[bytes], context: Context) -> Call:
        seconds = self.runtime.settings.request_timeout_s
        remaining = context.time_remaining()
        if remaining is not None:
            seconds = min(seconds, remaining)
        deadline = asyncio.get_running_loop().time() + seconds
        peer = _address(context.peer())
        return Call(self.runtime, deadline, headers, requests, peer, self._turns)

    async def _observe(
        self, method: Method, call: Call, context: Context
    ) -> tuple[bytes, RequestError | None]:
        """The answer, or the problem; either is counted, logged and traced."""
        metrics = self.runtime.metrics
        path = f"/{SERVICE}/{method.name}"
        answer, problem, status = b"", None, 200
        started = time.perf_counter()
        metrics.in_flight.inc()
        try:
            with self._span(method, call, lambda: status):
                try:
                    if not method.is_open:
                        self.runtime.keys.check(keys.in_headers(call.headers))
                    answer = await method.run(call)
                except (Exception, asyncio.CancelledError) as error:
                    problem = self._problem_of(error, call, context)
                    status = problem.status
                    metrics.rejected.labels(problem.slug).inc()
                    call.log_fields = {"problem": problem.slug, "detail": str(problem)}
                    if isinstance(error, asyncio.CancelledError) and not self._cut_off:
                        raise
        finally:
            metrics.in_flight.dec()
            code = statuses.CODES.get(status, grpc.StatusCode.OK)
            answered = Answered(
                method="gRPC",
                path=path,
                route=path,
                status=status,
                seconds=time.perf_counter() - started,
                client=call.peer,
                is_probe=method.is_open,
                fields={"grpc_status": code.name, **call.log_fields},
            )
            record(metrics, answered)
        return answer, problem

    def _problem_of(
        self, error: Exception | asyncio.CancelledError, call: Call, context: Context
    ) -> RequestError:
        if not isinstance(error, asyncio.CancelledError) or self._cut_off:
            return problems.of_exception(error)
        remaining = context.time_remaining()
        if remaining is not None and remaining < CLOCKS_S:
            return Timeout("the deadline of the request passed")
        if call.is_arriving:
            # Nothing tells which: gRPC has answered the client.
            return ClientGone("the client cancelled, or its message was longer than SFD_MAX_BYTES")
        return ClientGone("the client cancelled the call before its answer")

    async def _wait(self) -> None:
        """Wait for the pace of refusals, or for the end of the grace time."""
        try:
            await self._pace.wait()
        except asyncio.CancelledError:
            if not self._cut_off:
                raise

    def _is_paced(self, problem: RequestError, context: Context) -> bool:
        """Whether the client may repeat the call at once, and nothing else asks for haste.

        As over HTTP: a call with a deadline does not wait, and none does while the service drains.
        """
        return (
            type(problem) is Overloaded
            and not self.runtime.draining
            and context.time_remaining() is None
        )

    def _span(
        self, method: Method, call: Call, status: Callable[[], int]
    ) -> AbstractContextManager[None]:
        if self.tracing is None or method.is_open:
            return nullcontext()

        def end() -> Ended:
            code = statuses.CODES.get(status(), grpc.StatusCode.OK)
            # OpenTelemetry's semantic conventions for gRPC server spans.
            attributes: Attributes = {
                "rpc.system": "grpc",
                "rpc.service": SERVICE,
                "rpc.method": method.name,
                "rpc.grpc.status_code": code.value[0],
                "sfd.request_id": logs.request_id.get(),
            }
            return Ended(f"{SERVICE}/{method.name}", attributes, failed=status() >= 500)

        return self.tracing.request(call.headers, end)


def _headers(context: Context) -> Headers:
    """The metadata of a call. Values of bytes, whose keys end in -bin, are left out."""
    pairs = context.invocation_metadata() or ()
    return Headers(
        raw=[
            (key.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for key, value in pairs
            if isinstance(value, str)
        ]
    )


def _address(peer: str) -> str:
    """The host in `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    _, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0].strip("[]")
