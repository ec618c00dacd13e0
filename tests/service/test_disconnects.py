import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from starlette.types import Message

from detection.letterbox import Pixels
from detection.predictions import Predictions
from detection.session import Session
from service.disconnects import unless_client_goes
from service.errors import ClientGone
from service.runtime import Runtime


async def never() -> Message:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def gone() -> Message:
    return {"type": "http.disconnect"}


def test_the_result_of_finished_work_is_returned() -> None:
    async def work() -> int:
        return 3

    assert asyncio.run(unless_client_goes(never, work())) == 3


def test_an_exception_of_the_work_is_raised() -> None:
    async def work() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(unless_client_goes(never, work()))


def test_work_is_cancelled_when_the_client_disconnects() -> None:
    cancelled = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(ClientGone):
        asyncio.run(unless_client_goes(gone, work()))
    assert cancelled == [True]


def test_an_image_of_a_disconnected_client_is_never_inferred(
    serve: Any, bright_cells: Callable[..., bytes]
) -> None:
    opened = threading.Event()
    batches: list[int] = []

    def gate(runtime: Runtime) -> None:
        session = runtime.default.session

        def run(images: Sequence[Pixels]) -> list[Predictions]:
            if runtime.ready:
                batches.append(len(images))
                assert opened.wait(10)
            return Session.run(session, images)

        object.__setattr__(session, "run", run)

    async def request(app: Any, goes: asyncio.Event) -> list[Message]:
        sent: list[Message] = []
        received = iter([{"type": "http.request", "body": bright_cells(1), "more_body": False}])

        async def receive() -> Message:
            for message in received:
                return message
            await goes.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/detect", "query_string": b"",
                 "headers": [], "http_version": "1.1", "scheme": "http"}  # fmt: skip
        await app(scope, receive, send)
        return sent

    async def scenario(app: Any) -> tuple[list[Message], list[Message]]:
        stays, goes = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(request(app, stays))
        async with asyncio.timeout(10):
            while not batches:
                await asyncio.sleep(0.001)
        second = asyncio.create_task(request(app, goes))
        batcher = app.state.runtime.default.batcher
        async with asyncio.timeout(10):
            while not batcher._queue:
                await asyncio.sleep(0.001)
        goes.set()
        answer = await second
        assert batcher.depth == 0
        opened.set()
        return await first, answer

    with serve(gate) as client:
        first, second = client.portal.call(scenario, client.app)
        metrics = client.get("/metrics").text
    assert first[0]["status"] == 200
    assert second == []
    assert batches == [1]
    assert 'sfd_requests_total{route="/detect",status="499"} 1.0' in metrics
