"""Decoders: what a detector asks for the work on image files."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from detection.decoding import messages
from detection.decoding.forkserver import NO_MEMORY, UNKNOWN
from detection.decoding.job import TICK_S, Job
from detection.decoding.limits import Limits
from detection.decoding.messages import MalformedReply, Order, Reply, Task
from detection.decoding.pixels import PixelMemory
from detection.decoding.places import (
    LARGE_LINE,
    MOST_SLOW,
    QUICK_S,
    Place,
    Places,
    niceness,
)
from detection.decoding.process import ForkServer, Process, ending
from detection.decoding.tasks import Crop, Draw, Prepare, Prepared
from detection.errors import OutOfMemory, Overloaded, RequestError, Timeout, TooExpensive

log = logging.getLogger(__name__)

ENDINGS = ("cpu", "timeout", "overload", "crash")
"""Why a worker was stopped: its image took too much CPU time, the request ended, other images
waited, or it hung or ended by itself."""
HANG_S = 120
"""A worker that uses no CPU time for so long hangs."""


class DecoderCrashed(Exception):
    """A worker ended by itself, or was killed by the system or another process."""

    def __init__(self, *, killed: bool = False) -> None:
        super().__init__()
        self.killed = killed


def threads(width: int) -> int:
    """The number of threads that should ask a decoder of this width, which blocks each of them.

    Some are left for quick tasks when the slow ones and the line of large ones are full.
    """
    return 2 * width + MOST_SLOW + LARGE_LINE + 16


def running(width: int) -> int:
    """The most tasks that run at a time."""
    return width + MOST_SLOW


class Decoder(Protocol):
    """Does tasks on image files. The methods block, and may be called from several threads."""

    @property
    def stalled(self) -> bool:
        """Whether tasks wait although nothing has ended for long."""

    def cpu_seconds(self) -> float:
        """The CPU time of the decoder's own processes."""

    def memory(self) -> int:
        """The resident bytes of the decoder's own processes."""

    def prepare(self, task: Prepare, data: bytes, job: Job) -> Prepared:
        """Decode and letterbox. Raises RequestError."""

    def make(self, task: Draw | Crop, data: bytes, job: Job) -> list[bytes]:
        """Make pictures. Raises RequestError."""

    def close(self) -> None:
        """Stop what is running."""


class ThreadDecoder:
    """Works in the calling thread: a hostile file can use any time and memory."""

    stalled = False

    def cpu_seconds(self) -> float:
        """See Decoder."""
        return 0.0

    def memory(self) -> int:
        """See Decoder."""
        return 0

    def prepare(self, task: Prepare, data: bytes, job: Job) -> Prepared:
        """See Decoder."""
        return task.run(data)

    def make(self, task: Draw | Crop, data: bytes, job: Job) -> list[bytes]:
        """See Decoder."""
        return task.run(data, job.check)

    def close(self) -> None:
        """Nothing to stop."""


class ProcessDecoder:
    """Works in worker processes, which are stopped when an image goes over its limits.

    At most `width` tasks run at full speed. A task that turns out to be slow leaves its place to
    the next one, and goes on at a low priority. `pixels` must be able to spare the slots of all
    tasks that run. `on_end` is called, from any thread, with the reason for which a worker was
    stopped: one of ENDINGS.
    """

    def __init__(
        self,
        width: int,
        limits: Limits,
        pixels: PixelMemory,
        on_end: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._limits = limits
        self._pixels = pixels
        self._on_end = on_end
        self._places = Places(width)
        self._lock = threading.Lock()
        self._idle: list[Process] = []
        self._server = ForkServer(limits, pixels.descriptor)

    @property
    def stalled(self) -> bool:
        """See Decoder."""
        return self._places.stalled

    def cpu_seconds(self) -> float:
        """See Decoder."""
        return self._server.cpu_seconds()

    def memory(self) -> int:
        """See Decoder."""
        return self._server.memory()

    def prepare(self, task: Prepare, data: bytes, job: Job) -> Prepared:
        """See Decoder."""
        _, prepared = self._run(task, data, job)
        assert prepared is not None
        return prepared

    def make(self, task: Draw | Crop, data: bytes, job: Job) -> list[bytes]:
        """See Decoder."""
        reply, _ = self._run(task, data, job)
        return reply.files

    def close(self) -> None:
        """End all workers; the tasks that run or wait fail with Overloaded."""
        self._server.close()
        self._pixels.close()

    def _run(self, task: Task, data: bytes, job: Job) -> tuple[Reply, Prepared | None]:
        """The reply to a task. Raises RequestError."""
        try:
            with suppress(OutOfMemory):
                return self._try_twice(task, data, job, large=False)
            # Only one task at a time may use more than the usual memory.
            with self._places.large(job):
                return self._try_twice(task, data, job, large=True)
        except DecoderCrashed as crash:
            if crash.killed:
                raise OutOfMemory(
                    "the processes that decoded this image were killed; the server may have too "
                    "little memory; try again later"
                ) from None
            raise TooExpensive("the decoder failed on this image; it may be broken") from None

    def _try_twice(
        self, task: Task, data: bytes, job: Job, *, large: bool
    ) -> tuple[Reply, Prepared | None]:
        """Run a task, a second time if the worker crashes: someone else may have killed it.

        Raises DecoderCrashed if the second one crashes, too.
        """
        with suppress(DecoderCrashed):
            return self._run_once(task, data, job, large=large)
        return self._run_once(task, data, job, large=large, fresh=True)

    def _run_once(
        self, task: Task, data: bytes, job: Job, *, large: bool, fresh: bool = False
    ) -> tuple[Reply, Prepared | None]:
        """The reply to a task, and for a Prepare its result, whose pictures keep their slots.

        An idle worker may be about to die, with its fork server, so a second try asks for a `fresh`
        one.
        """
        with self._places.take(job) as place:
            process = self._worker(fresh=fresh)
            slots = self._pixels.take(task.most_tiles if isinstance(task, Prepare) else 0)
            kept, reusable = 0, False
            try:
                offsets = [slot * self._pixels.slot_bytes for slot in slots]
                reply = self._ask(process, Order(task, data, offsets, large), job, place)
                reusable = reply.is_reusable and not (large or place.is_slow)
                reply.check()
                if not isinstance(task, Prepare):
                    return reply, None
                tiles, placements = reply.placements(len(slots))
                pictures = []
                for slot in slots[: len(tiles)]:
                    # From here on the slot belongs to its picture.
                    kept += 1
                    pictures.append(self._pixels.picture(slot, task.shape))
                decode, preprocess = float(reply.head["decode"]), float(reply.head["preprocess"])
                return reply, Prepared(tiles, pictures, placements, decode, preprocess)
            except (MalformedReply, KeyError, TypeError, ValueError) as error:
                reusable = False
                self._on_end("crash")
                log.error("a decoder was stopped: %s", error)
                raise DecoderCrashed from None
            finally:
                # A worker that may still write keeps its slots.
                if self._return(process, reusable=reusable):
                    self._pixels.give_back(slots[kept:])

    def _ask(self, process: Process, order: Order, job: Job, place: Place) -> Reply:
        """A worker's reply. Raises RequestError, which stops it, or DecoderCrashed."""
        try:
            before = process.cpu_seconds()
            messages.send_order(process.connection, order)
            self._watch(process, before, job, place)
            return messages.receive_reply(process.connection, order.task.most_files)
        except (EOFError, OSError) as error:
            # A worker that stops in the middle of a message still runs.
            hangs = isinstance(error, BlockingIOError)
            raise self._crashed(process, len(order.data), hangs=hangs) from None
        except RequestError as problem:
            log.warning("stopped a decoder at %d bytes: %s", len(order.data), problem)
            raise

    def _watch(self, process: Process, before: float | None, job: Job, place: Place) -> None:
        """Wait for a worker's reply. Raises RequestError for what stops it."""
        started = moved = time.monotonic()
        if process.connection.poll(QUICK_S):
            return
        level = 0
        while not process.connection.poll(TICK_S):
            now = time.monotonic()
            used = process.cpu_seconds()
            # Where the system does not tell, the time since the start is the best guess.
            used = now - started if used is None or before is None else used - before
            if used > job.used:
                job.used, moved = used, now
            if job.used > self._limits.cpu_seconds:
                self._on_end("cpu")
                raise self._too_expensive()
            if now - moved > HANG_S:
                self._on_end("crash")
                raise TooExpensive("decoding this image makes no progress; it may be broken")
            try:
                job.check()
            except Timeout:
                self._on_end("timeout")
                raise
            if job.evicted:
                self._on_end("overload")
                raise Overloaded("too many images that take long to decode; try again later")
            if (wanted := niceness(job.used)) > level:
                level = wanted
                process.be_nice(level)
            if level and not place.has_left:
                self._places.give_way(job, place)

    def _too_expensive(self) -> TooExpensive:
        return TooExpensive(
            "this image takes too long to decode or draw: more than "
            f"{self._limits.cpu_seconds:g} s of CPU time"
        )

    def _crashed(self, process: Process, size: int, *, hangs: bool) -> Exception:
        """What to raise for a worker that has ended by itself, or no longer answers."""
        if self._server.is_closed:
            return Overloaded("the service is shutting down")
        try:
            status = self._server.end(process)
        except OSError:
            return DecoderCrashed()
        if status == -signal.SIGXCPU:
            self._on_end("cpu")
            return self._too_expensive()
        if status == NO_MEMORY:
            return OutOfMemory("too little memory is left for this image; try again later")
        self._on_end("crash")
        if hangs:
            log.error("stopped a decoder that hung at an image of %d bytes", size)
            return DecoderCrashed()
        log.error("a decoder ended %s at an image of %d bytes", ending(status), size)
        # A worker whose fork server was killed ends with it, for an unknown reason.
        return DecoderCrashed(killed=status in (-signal.SIGKILL, UNKNOWN))

    def _worker(self, *, fresh: bool) -> Process:
        try:
            while not fresh:
                with self._lock:
                    process = self._idle.pop() if self._idle else None
                if process is None:
                    break
                if process.is_alive:
                    return process
                self._server.end(process)
            return self._server.fork()
        except OSError as error:
            log.error("cannot start a decoder: %s", error)
            raise Overloaded(
                "no process for decoding the image can be started; try again later"
            ) from None

    def _return(self, process: Process, *, reusable: bool) -> bool:
        """Keep a worker, or end one with a low priority, much memory or a task left.

        False if it may still run.
        """
        with self._lock:
            if reusable and len(self._idle) < self._places.width:
                self._idle.append(process)
                return True
        try:
            self._server.end(process)
        except OSError as error:
            log.error("cannot end a decoder: %s", error)
            return False
        return True
