"""Does one shard after the other with one detector: the same in this process and in an actor."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from detection.bulk.errors import BulkError
from detection.bulk.output import Output, part_name
from detection.bulk.plan import Plan, model_changes, model_plan
from detection.bulk.rows import Row, parquet
from detection.bulk.settings import BulkSettings
from detection.bulk.shards import Picture, shards_of
from detection.deadline import NEVER
from detection.errors import InferenceFailed, Overloaded, RequestError, Timeout
from detection.opening import find_model, open_detector
from detection.retries import detect_alone

READERS = 8
"""Threads that read files. Reading from an object store is mostly waiting."""
LEAST_WINDOW = 16


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to the pictures of a shard."""

    pictures: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """How many failed, by the error's type."""


Advance = Callable[[int], None]
"""Called with a number of pictures that are done."""


class Worker:
    """A detector of the plan's model, and the shards of the plan.

    Raises BulkError if the model here is not the plan's. Use it as a context manager.
    """

    def __init__(self, plan: Plan, out: str, settings: BulkSettings) -> None:
        self._plan = plan
        self._output = Output(out)
        self._shards = shards_of(plan, self._output)
        model = find_model(settings, plan.model.name)
        self._detector = open_detector(model, settings, measure=True)
        here = model_plan(model, self._detector.session.build, settings)
        if changes := model_changes(plan.model, here):
            raise BulkError(
                f"the model {model.name} here is not the plan's: {'; '.join(changes)}: use the "
                "same model everywhere"
            )
        running = self._detector.plan
        # Frees what the measurement took.
        self._detector.session.warm_up({running.max_batch})
        # Enough to keep every worker busy while the next batch is read and decoded.
        window = max(LEAST_WINDOW, 3 * running.workers * running.max_batch)
        self._query = plan.options.query
        self._window = self._detector.group(window, self._query)
        self._reading = ThreadPoolExecutor(READERS, "read")
        # One picture at a time is tried again.
        self._retrying = asyncio.Lock()
        self._runner = asyncio.Runner()

    def run(self, shard: int, advance: Advance = lambda count: None) -> Report:
        """Find the faces of a shard's pictures and write its file.

        A picture that fails is a row with its error. Raises BulkError or StartError if the job
        can't go on; then nothing is written.
        """
        try:
            rows = self._runner.run(self._rows(self._shards.pictures(shard), advance))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        if len(rows) != self._plan.pictures_in(shard):
            raise BulkError(f"shard {shard} has {len(rows)} pictures: a bug")
        failures = Counter(row.found.slug for row in rows if isinstance(row.found, RequestError))
        if any(isinstance(row.found, InferenceFailed) for row in rows):
            # Was it the picture, or does the model no longer run on this machine?
            self._detector.session.run_blank(1)
        model = self._plan.model
        content = parquet(rows, model.name, model.sha256)
        self._output.write(part_name(shard, self._plan.id), content)
        return Report(len(rows), failures)

    def close(self) -> None:
        """Drop what is still running, and end the threads."""
        self._runner.run(self._end())
        self._runner.close()
        self._reading.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _end(self) -> None:
        # A signal ends the event loop in the middle of a task, which then has its exception.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._detector.close()

    async def _rows(self, pictures: Iterator[Picture], advance: Advance) -> list[Row]:
        """The rows of the pictures, in order. At most `window` of them are in memory."""
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(self._window)
        tasks = []

        async def one(picture: Picture) -> Row:
            try:
                return await self._row(picture)
            finally:
                places.release()
                advance(1)

        async with asyncio.TaskGroup() as group:
            while True:
                await places.acquire()
                picture = await loop.run_in_executor(self._reading, next, pictures, None)
                if picture is None:
                    break
                tasks.append(group.create_task(one(picture)))
        return [task.result() for task in tasks]

    async def _row(self, picture: Picture) -> Row:
        loop = asyncio.get_running_loop()
        data, digest = await loop.run_in_executor(self._reading, _read, picture)
        [found] = await self._detector.detect_all([data], self._query, NEVER)
        if isinstance(found, Overloaded):
            async with self._retrying:
                found = await detect_alone(self._detector, data, self._query)
        if isinstance(found, Overloaded | Timeout):
            # Not the picture's fault: it must not become its row.
            raise found
        return Row(picture.name, digest, found)


def _read(picture: Picture) -> tuple[bytes | RequestError, str | None]:
    """The bytes of a picture and their SHA-256."""
    data = picture.read()
    return data, None if isinstance(data, RequestError) else hashlib.sha256(data).hexdigest()
