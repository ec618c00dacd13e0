import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from detection.errors import StartError
from service.cluster.replicas import Cancellations, ReplicaIds, configure


def test_the_threads_of_a_replica_follow_its_cpus() -> None:
    settings, num_cpus = configure({}, 1.5)
    assert (settings.threads, num_cpus) == (2, 1.5)


def test_the_cpus_of_a_replica_follow_its_threads() -> None:
    settings, num_cpus = configure({"SFD_THREADS": 3}, None)
    assert (settings.threads, num_cpus) == (3, 3.0)


def test_threads_that_contradict_the_cpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFD_THREADS", "4")
    with pytest.raises(StartError, match="SFD_THREADS: must be left out, because num_cpus=2"):
        configure({}, 2)
    assert configure({}, 4)[0].threads == 4


def test_the_configuration_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFD_MODELS", "one")
    monkeypatch.setenv("SFD_MAX_IMAGES", "3")
    settings, _ = configure({"SFD_MODELS": "two, three", "SFD_MAX_BYTES": "1MB"}, 1)
    assert settings.served_models == ("two", "three")
    assert (settings.max_images, settings.max_bytes) == (3, 1_000_000)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"SFD_MODLES": "x"}, "SFD_MODLES is not a setting; did you mean SFD_MODELS?"),
        ({"MODELS": "x"}, "MODELS is not a setting"),
        ({"models": "x"}, "models is not a setting"),
        ({"SFD_PORT": "x"}, "SFD_PORT: must be a whole number from 0 to 65535, not 'x'"),
    ],
)
def test_a_wrong_setting_is_explained(given: dict[str, object], message: str) -> None:
    with pytest.raises(StartError) as raised:
        configure(given, 1)
    assert str(raised.value).startswith(message)


async def _silence() -> Message:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def _ignore(message: Message) -> None:
    pass


def test_a_cancelled_request_looks_like_a_client_that_left() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            seen.append(await receive())
        except asyncio.CancelledError:
            seen.append({"type": "cancelled"})
            raise

    async def cancel() -> None:
        task = asyncio.create_task(Cancellations(app)({"type": "http"}, _silence, _ignore))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    assert seen == [{"type": "http.disconnect"}]


def test_messages_of_the_client_arrive_unchanged() -> None:
    sent: Iterator[Message] = iter(
        [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "x"}]
    )
    seen: list[Message] = []

    async def receive() -> Message:
        return next(sent)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([await receive(), await receive()])

    asyncio.run(Cancellations(app)({"type": "http"}, receive, _ignore))
    assert [message["type"] for message in seen] == ["http.request", "x"]


def test_an_exception_of_the_app_is_raised() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        asyncio.run(Cancellations(app)({"type": "http"}, _silence, _ignore))


def test_an_answer_names_its_replica() -> None:
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def keep(message: Message) -> None:
        sent.append(message)

    asyncio.run(ReplicaIds(app, "abc")({"type": "http"}, _silence, keep))
    assert sent[0]["headers"] == [(b"x-replica", b"abc")]
