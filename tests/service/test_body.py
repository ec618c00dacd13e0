import asyncio
from collections.abc import Mapping

import pytest
from starlette.types import Message

from detection.errors import Overloaded, RequestError, Timeout
from service import body
from service.body import BodyMemory
from service.errors import ClientGone, PayloadTooLarge


def chunk(data: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def read(
    *messages: Message,
    headers: Mapping[str, str] | None = None,
    memory: BodyMemory | None = None,
    seconds: float = 10,
) -> bytes:
    """The body from these messages, at most 10 bytes; then no more messages come."""
    held_by = memory or BodyMemory(100)
    left = iter(messages)

    async def receive() -> Message:
        for message in left:
            return message
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def run() -> bytes:
        deadline = asyncio.get_running_loop().time() + seconds
        with held_by.hold() as held:
            chunks = body.stream(receive, headers or {}, max_bytes=10, deadline=deadline, held=held)
            data = b"".join([chunk async for chunk in chunks])
            assert held.count == len(data)
            return data

    return asyncio.run(run())


def test_chunks_are_joined_until_the_last() -> None:
    assert read(chunk(b"abc"), chunk(b""), chunk(b"defghij", more=False)) == b"abcdefghij"


@pytest.mark.parametrize(
    ("messages", "headers", "problem"),
    [
        ([], {"content-length": "11"}, PayloadTooLarge),  # before a byte of it is read
        ([chunk(b"x" * 11)], {}, PayloadTooLarge),
        ([chunk(b"x" * 6), chunk(b"x" * 5)], {"content-length": "nonsense"}, PayloadTooLarge),
        ([chunk(b"x"), {"type": "http.disconnect"}], {}, ClientGone),
        ([chunk(b"x")], {}, Timeout),
    ],
)
def test_a_body_that_cannot_be_accepted_is_a_problem(
    messages: list[Message], headers: dict[str, str], problem: type[RequestError]
) -> None:
    with pytest.raises(problem):
        read(*messages, headers=headers, seconds=0.01)


def test_all_bodies_together_have_a_limit_and_free_their_memory() -> None:
    memory = BodyMemory(8)
    with memory.hold() as other:
        other.add(5)
        with pytest.raises(Overloaded):
            read(chunk(b"xxxx", more=False), memory=memory)
        assert memory.held == 5
        assert read(chunk(b"xxx", more=False), memory=memory) == b"xxx"
    assert memory.held == 0
