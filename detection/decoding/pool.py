"""Decoders: what a detector asks for the work on image files."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from detection.decoding import messages
from detection.decoding.limits import Limits
from detection.decoding.messages import Order, Reply, Task
from detection.decoding.pixels import PixelMemory
from detection.decoding.process import ForkServer, Process, ending
from detection.decoding.tasks import Crop, Draw, Prepare, Prepared
from detection.errors import OutOfMemory, Overloaded, RequestError, Timeout, TooExpensive

log = logging.getLogger(__name__)

THREADS = 64
"""Threads that wait for workers: more than tasks that can hold each other up."""
TICK_S = 0.05
"""How often a task that runs long is looked at."""
QUICK_S = 0.25
"""A task that has used more CPU seconds is slow: it gives way to others. A photograph of 24
megapixels takes 0.2."""
NICENESS = ((QUICK_S, 5), (1.0, 10), (3.0, 19))
"""After so many CPU seconds a worker runs at such a priority: on a busy machine 5 is a third of the
usual share, 10 a tenth, 19 a seventieth."""
MOST_SLOW = 4
"""Most slow tasks that leave their place to others."""
PATIENCE_S = 2.0
"""A slow task that has used more CPU seconds is stopped if others wait and have no place."""
ENDINGS = ("cpu", "timeout", "overload", "crash")
"""Why a worker was stopped: its image took too much CPU time, the request ended, other images
waited, or it ended by itself."""
STALL_S = 10.0
"""A task that waits longer than this while no other one ends means that something is wrong."""


@dataclass(eq=False, slots=True)
class Job:
    """A task's time limit, and whether its caller still waits for it."""

    expires: float = float("inf")
    """A time of `time.monotonic`."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the caller no longer waits."""
    used: float = 0.0
    """CPU seconds so far."""
    evicted: bool = False
    """Whether it has to make room for others."""

    def check(self) -> None:
        """Raise Timeout if nobody waits for the result any more."""
        if self.over.is_set() or time.monotonic() >= self.expires:
            raise Timeout("the deadline of the request passed")


class DecoderCrashed(Exception):
    """A worker ended by itself."""


class Decoder(Protocol):
    """Does tasks on image files. The methods block, and may be called from several threads."""

    @property
    def stalled(self) -> bool:
        """Whether tasks wait although nothing has ended for long."""

    def prepare(self, task: Prepare, data: bytes, job: Job) -> Prepared:
        """Decode and letterbox. Raises RequestError."""

    def make(self, task: Draw | Crop, data: bytes, job: Job) -> list[bytes]:
        """Make pictures. Raises RequestError."""

    def close(self) -> None:
        """Stop what is running."""


class ThreadDecoder:
    """Works in the calling thread: a hostile file can use any time and memory."""

    stalled = False

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
    the next one, and goes on at a low priority. `on_end` is called, from any thread, with the
    reason for which a worker was stopped: one of ENDINGS.
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
        self._width = width
        self._quick = threading.BoundedSemaphore(width)
        self._large = threading.BoundedSemaphore(1)
        self._lock = threading.Lock()
        self._idle: list[Process] = []
        self._slow: list[Job] = []
        self._waiting: dict[Job, float] = {}
        self._progress = time.monotonic()
        self._server = ForkServer(limits, pixels.descriptor)

    @property
    def stalled(self) -> bool:
        """See Decoder."""
        with self._lock:
            oldest = min(self._waiting.values(), default=None)
        return oldest is not None and time.monotonic() - max(oldest, self._progress) > STALL_S

    def prepare(self, task: Prepare, data: bytes, job: Job) -> Prepared:
        """See Decoder."""
        slots = self._take_slots(task.most_tiles, job)
        used = 0
        try:
            offsets = [slot * self._pixels.slot_bytes for slot in slots]
            reply = self._run(task, data, offsets, job)
            # The pictures have an array each from here on, which frees its slot.
            used = len(reply.head["tiles"])
            pictures = [self._pixels.picture(slot, task.shape) for slot in slots[:used]]
        finally:
            self._pixels.give_back(slots[used:])
        return reply.prepared(pictures)

    def make(self, task: Draw | Crop, data: bytes, job: Job) -> list[bytes]:
        """See Decoder."""
        return self._run(task, data, [], job).files

    def close(self) -> None:
        """End all workers; the tasks that run fail with Overloaded."""
        self._server.close()
        self._pixels.close()

    def _take_slots(self, count: int, job: Job) -> list[int]:
        while (slots := self._pixels.take(count)) is None:
            job.check()
            job.over.wait(TICK_S)
        return slots

    def _run(self, task: Task, data: bytes, offsets: list[int], job: Job) -> Reply:
        try:
            return self._run_again(Order(task, data, offsets, large=False), job)
        except OutOfMemory:
            # Only one task at a time may use more than the usual memory.
            _acquire(self._large, job)
        try:
            return self._run_again(Order(task, data, offsets, large=True), job)
        finally:
            self._large.release()

    def _run_again(self, order: Order, job: Job) -> Reply:
        """Run a task, a second time if the worker crashes: someone else may have killed it."""
        with suppress(DecoderCrashed):
            return self._run_once(order, job)
        try:
            return self._run_once(order, job)
        except DecoderCrashed:
            raise TooExpensive("the decoder failed on this image; it may be broken") from None

    def _run_once(self, order: Order, job: Job) -> Reply:
        with self._turn(job) as turn:
            process = self._worker()
            reusable = False
            try:
                began = process.cpu_seconds()
                messages.send_order(process.connection, order)
                self._watch(process, began, job, turn)
                reply = messages.receive_reply(process.connection)
                reusable = not (order.large or turn.was_slow)
            except (EOFError, OSError):
                raise self._crashed(process, len(order.data)) from None
            except RequestError as problem:
                log.warning("stopped a decoder at %d bytes: %s", len(order.data), problem)
                raise
            finally:
                self._return(process, reusable=reusable)
        reply.check()
        return reply

    @contextmanager
    def _turn(self, job: Job) -> Iterator["_Turn"]:
        """Wait for a place among the quick tasks."""
        with self._lock:
            self._waiting[job] = time.monotonic()
        try:
            _acquire(self._quick, job)
        finally:
            with self._lock:
                del self._waiting[job]
        turn = _Turn(self._quick)
        try:
            job.check()
            yield turn
        finally:
            self._progress = time.monotonic()
            turn.end()
            with self._lock:
                if job in self._slow:
                    self._slow.remove(job)

    def _watch(self, process: Process, began: float, job: Job, turn: "_Turn") -> None:
        """Wait for a worker's reply. Raises what stops it."""
        if process.connection.poll(QUICK_S):
            return
        level = 0
        while not process.connection.poll(TICK_S):
            job.used = process.cpu_seconds() - began
            if job.used > self._limits.cpu_seconds:
                self._on_end("cpu")
                raise self._too_expensive()
            if job.evicted:
                self._on_end("overload")
                raise Overloaded("too many images that take long to decode; try again later")
            try:
                job.check()
            except Timeout:
                self._on_end("timeout")
                raise
            if (wanted := niceness(job.used)) > level:
                level = wanted
                process.be_nice(level)
            if level and not turn.given:
                self._give_way(job, turn)

    def _give_way(self, job: Job, turn: "_Turn") -> None:
        """Let the next task in. If too many have done so, stop the slowest for those that wait."""
        with self._lock:
            turn.was_slow = True
            if len(self._slow) < MOST_SLOW:
                self._slow.append(job)
                turn.end()
            elif self._waiting:
                slowest = max(self._slow, key=lambda each: each.used)
                slowest.evicted = slowest.used > PATIENCE_S

    def _too_expensive(self) -> TooExpensive:
        return TooExpensive(
            "this image takes too long to decode or draw: more than "
            f"{self._limits.cpu_seconds:g} s of CPU time"
        )

    def _crashed(self, process: Process, size: int) -> Exception:
        """What to raise for a worker that has ended by itself."""
        try:
            status = self._server.end(process)
        except OSError:
            return Overloaded("the service is shutting down")
        if status == -signal.SIGXCPU:
            self._on_end("cpu")
            return self._too_expensive()
        self._on_end("crash")
        log.error("a decoder ended %s at an image of %d bytes", ending(status), size)
        return DecoderCrashed()

    def _worker(self) -> Process:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_alive:
                    return process
                self._server.end(process)
        try:
            return self._server.fork()
        except OSError as error:
            log.error("cannot start a decoder: %s", error)
            raise Overloaded("no process for decoding the image can be started") from None

    def _return(self, process: Process, *, reusable: bool) -> None:
        """Keep a worker, or end one that has a low priority, a lot of memory or a task left."""
        with self._lock:
            if reusable and len(self._idle) < self._width:
                self._idle.append(process)
                return
        try:
            self._server.end(process)
        except OSError:
            # The pool is closed, and all workers with it.
            return


@dataclass(eq=False, slots=True)
class _Turn:
    """A place among the quick tasks, until the task gives way or ends."""

    _quick: threading.Semaphore
    was_slow: bool = False
    given: bool = False

    def end(self) -> None:
        """Leave the place, if not done before."""
        if not self.given:
            self.given = True
            self._quick.release()


def niceness(used: float) -> int:
    """The priority of a task that has used so many CPU seconds."""
    return max((level for limit, level in NICENESS if used > limit), default=0)


def _acquire(semaphore: threading.Semaphore, job: Job) -> None:
    """Wait for a semaphore; Timeout if the job's time ends before."""
    remaining = min(job.expires - time.monotonic(), threading.TIMEOUT_MAX)
    if not semaphore.acquire(timeout=max(remaining, 0)):
        raise Timeout("the deadline of the request passed")
