"""What a replica needs beside the service: its settings, and middleware between it and Ray."""

import asyncio
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detection.errors import StartError
from service import settings
from service.cluster.limits import threads_for
from service.cluster.refusals import REPLICA
from service.settings import Settings


def configure(given: Mapping[str, object], num_cpus: float | None) -> tuple[Settings, float]:
    """The settings of each replica, and its CPUs.

    `given` are variables (SFD_…) that win over those of the environment. SFD_THREADS follows
    `num_cpus`, and without it the other way round. Raises StartError for a wrong variable or value.
    """
    fields = {}
    for name, value in given.items():
        field = name.removeprefix("SFD_").lower()
        if settings.variable(field) != name or field not in Settings.model_fields:
            raise StartError(settings.not_a_setting(name))
        fields[field] = value
    loaded = settings.load(**fields)
    if num_cpus is None:
        return loaded, float(loaded.threads)
    threads = threads_for(num_cpus)
    if "threads" in loaded.model_fields_set and loaded.threads != threads:
        raise StartError(
            f"SFD_THREADS: must be left out, because num_cpus={num_cpus:g} makes it {threads}, "
            f"not {loaded.threads}"
        )
    return settings.load(**fields | {"threads": threads}), num_cpus


class ReplicaIds:
    """Adds the replica's id to each answer, which tells it from an answer of Ray's own."""

    def __init__(self, app: ASGIApp, replica: str) -> None:
        self.app = app
        self.replica = replica

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REPLICA] = self.replica
            await send(message)

        await self.app(scope, receive, send_with_id)


class Cancellations:
    """Turns the cancelled task of a request into the message "http.disconnect".

    Ray cancels the task when the client disconnects, or when the proxy's time is up. To the service
    a cancelled task means that the process ends, which it answers with 503 and counts as such.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        gone = asyncio.get_running_loop().create_future()

        async def receive_unless_gone() -> Message:
            message = asyncio.ensure_future(receive())
            try:
                await asyncio.wait({message, gone}, return_when=asyncio.FIRST_COMPLETED)
                return {"type": "http.disconnect"} if gone.done() else message.result()
            finally:
                message.cancel()

        answering = asyncio.ensure_future(self.app(scope, receive_unless_gone, send))
        try:
            await asyncio.shield(answering)
        except asyncio.CancelledError:
            gone.set_result(None)
            await asyncio.wait({answering})
            raise
