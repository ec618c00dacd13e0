"""Real worker processes, with real and with hostile image files."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.decoding import pool
from detection.decoding.limits import Limits
from detection.decoding.pixels import PixelMemory
from detection.decoding.pool import Job, ProcessDecoder, ThreadDecoder, niceness
from detection.decoding.tasks import Crop, Draw, Prepare
from detection.errors import InvalidImage, Overloaded, Timeout, TooExpensive, TooManyPixels

MEAN = (123, 117, 104)
SMALL = Prepare(64, 64, 3, MEAN, 50_000_000, 1, reduced=False)
TILES = Prepare(64, 64, 3, MEAN, 50_000_000, 20, reduced=False)

Make = Callable[..., ProcessDecoder]


def image(width: int = 100, height: int = 50, kind: str = "PNG", **options: object) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def black(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


# Each of these faces takes some hundredths of a second to hide.
SLOW = Draw([[0, 0, 3000, 2000]] * 2000, [0.9] * 2000, "blur", "JPEG", MEAN, 10**8)


@cache
def large() -> bytes:
    return black(3000, 2000)


@pytest.fixture
def make() -> Iterator[Make]:
    made = []

    def start(width: int = 2, cpu: float = 60, memory: int = 2**30) -> ProcessDecoder:
        decoder = ProcessDecoder(
            width, Limits(cpu, memory), PixelMemory(64 * 64 * 3, 32, spare=40), endings.append
        )
        made.append(decoder)
        return decoder

    endings: list[str] = []
    start.endings = endings  # type: ignore[attr-defined]
    yield start
    for decoder in made:
        decoder.close()


def children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in path.read_text().split()]


def workers() -> list[int]:
    """The process numbers of all workers of this process."""
    servers = [
        child for child in children(os.getpid())
        if b"detection.decoding" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]  # fmt: skip
    return [worker for server in servers for worker in children(server)]


def eventually(condition: Callable[[], bool]) -> None:
    latest = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < latest
        time.sleep(0.01)


@pytest.mark.parametrize("task", [SMALL, TILES])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_worker_prepares_what_a_thread_does(make: Make, task: Prepare, kind: str) -> None:
    data = image(300, 200, kind)
    here = ThreadDecoder().prepare(task, data, Job())
    there = make().prepare(task, data, Job())
    assert (there.tiles, there.placements) == (list(here.tiles), list(here.placements))
    assert len(there.pictures) == len(here.pictures)
    for one, other in zip(here.pictures, there.pictures, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "task",
    [
        Draw([[10, 10, 30, 30]], [0.9], "boxes", "PNG", MEAN, 10**6),
        Draw([], [], "blur", "JPEG", MEAN, 10**6),
        Crop([[10, 10, 30, 30], [40, 5, 60, 25]], 0.25, 64, 10**6, MEAN, 10**6),
    ],
)
def test_a_worker_makes_the_files_that_a_thread_makes(make: Make, task: Draw | Crop) -> None:
    data = image()
    assert make().make(task, data, Job()) == ThreadDecoder().make(task, data, Job())


def test_crops_end_at_the_most_bytes(make: Make) -> None:
    boxes = [[10, 10, 30, 30]] * 50
    everything = make().make(Crop(boxes, 0, 64, 10**6, MEAN, 10**6), image(), Job())
    few = make().make(Crop(boxes, 0, 64, len(everything[0]) * 2, MEAN, 10**6), image(), Job())
    assert (len(everything), len(few)) == (50, 3)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (image()[:200], InvalidImage, "broken"),
        (bytes(range(1, 40)), InvalidImage, "not a supported image format"),
        (black(9000, 9000), TooManyPixels, "81 megapixels"),
    ],
)
def test_the_errors_of_a_file_are_those_of_a_thread(
    make: Make, data: bytes, kind: type[Exception], message: str
) -> None:
    for decoder in (make(), ThreadDecoder()):
        with pytest.raises(kind, match=message):
            decoder.prepare(SMALL, data, Job())


def test_a_worker_is_used_again(make: Make) -> None:
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    before = workers()
    with pytest.raises(InvalidImage):
        decoder.prepare(SMALL, image()[:200], Job())
    decoder.prepare(SMALL, image(), Job())
    assert workers() == before
    assert len(before) == 1


def test_an_image_over_its_cpu_time_is_stopped(make: Make) -> None:
    decoder = make(cpu=0.5)
    with pytest.raises(TooExpensive, match="takes too long to decode or draw: more than 0"):
        decoder.make(SLOW, large(), Job())
    assert make.endings == ["cpu"]  # type: ignore[attr-defined]
    assert workers() == []
    decoder.prepare(SMALL, image(), Job())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")
@pytest.mark.parametrize("options", [{"format": "PNG"}, {"format": "JPEG", "progressive": True}])
def test_an_image_over_its_memory_is_refused(make: Make, options: dict[str, object]) -> None:
    decoder = make(memory=100 * 2**20)
    file = io.BytesIO()
    Image.new("RGB", (5000, 4000)).save(file, **options)  # type: ignore[arg-type]
    data = file.getvalue()
    with pytest.raises(TooExpensive, match="too much memory to decode or draw: more than 100 MiB"):
        decoder.prepare(SMALL, data, Job())
    decoder.prepare(SMALL, image(), Job())


def test_an_image_above_the_usual_memory_is_decoded_alone_by_a_worker_of_its_own(
    make: Make,
) -> None:
    decoder = make(memory=400 * 2**20)
    data = image(4000, 3000, "JPEG")
    decoder.prepare(SMALL, image(), Job())
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: decoder.prepare(SMALL, data, Job()), range(4)))
    assert {each.tiles[0].width for each in done} == {4000}
    eventually(lambda: len(workers()) <= 2)


def test_the_deadline_of_a_running_image_stops_its_worker(make: Make) -> None:
    decoder = make()
    with pytest.raises(Timeout):
        decoder.make(SLOW, large(), Job(expires=time.monotonic() + 0.5))
    assert make.endings == ["timeout"]  # type: ignore[attr-defined]
    assert workers() == []


def test_a_caller_that_no_longer_waits_stops_its_worker(make: Make) -> None:
    decoder, job = make(), Job()
    threading.Timer(0.4, job.over.set).start()
    with pytest.raises(Timeout):
        decoder.make(SLOW, large(), job)
    assert make.endings == ["timeout"]  # type: ignore[attr-defined]


def test_a_deadline_passes_while_an_image_waits_for_a_place(make: Make) -> None:
    decoder = make(width=1)
    with decoder._turn(Job()), pytest.raises(Timeout):
        decoder.prepare(SMALL, image(), Job(expires=time.monotonic() + 0.1))


def test_slow_images_leave_their_places_to_others(make: Make) -> None:
    decoder = make(width=1)
    jobs = [Job() for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(decoder.make, SLOW, large(), job) for job in jobs]
        eventually(lambda: len(decoder._slow) == 3)
        decoder.prepare(SMALL, image(), Job())
        assert not any(each.done() for each in running)
        levels = {os.getpriority(os.PRIO_PROCESS, worker) for worker in workers()}
        assert max(levels) >= 5
        for job in jobs:
            job.over.set()
        assert all(isinstance(each.exception(30), Timeout) for each in running)


def test_too_many_slow_images_make_room_for_those_that_wait(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MOST_SLOW", 2)
    monkeypatch.setattr(pool, "PATIENCE_S", 0.5)
    decoder = make(width=1)
    jobs = [Job() for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(decoder.make, SLOW, large(), job) for job in jobs]
        decoder.prepare(SMALL, image(), Job(expires=time.monotonic() + 60))
        for job in jobs:
            job.over.set()
        failures = [each.exception(30) for each in running]
    assert any(type(each) is Overloaded for each in failures)
    assert "overload" in make.endings  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("used", "level"), [(0, 0), (0.25, 0), (0.3, 5), (1.5, 10), (3.5, 19), (100, 19)]
)
def test_the_priority_falls_with_the_cpu_time(used: float, level: int) -> None:
    assert niceness(used) == level


def test_a_worker_that_is_killed_by_others_costs_no_image(make: Make) -> None:
    decoder = make()
    job = Job()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(decoder.make, SLOW, large(), job)
        eventually(lambda: len(decoder._slow) == 1)
        first = workers()
        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: len(workers()) == 1 and workers() != first)
        assert make.endings == ["crash"]  # type: ignore[attr-defined]
        job.over.set()
        assert isinstance(running.exception(30), Timeout)


def test_an_image_that_makes_workers_crash_twice_is_refused(make: Make) -> None:
    decoder = make()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(decoder.make, SLOW, large(), Job())
        seen: set[int] = set()
        for _ in range(2):
            eventually(lambda: bool(set(workers()) - seen))
            (worker,) = set(workers()) - seen
            seen.add(worker)
            os.kill(worker, signal.SIGSEGV)
        failure = running.exception(30)
    assert isinstance(failure, TooExpensive)
    assert "the decoder failed on this image" in str(failure)
    assert make.endings == ["crash", "crash"]  # type: ignore[attr-defined]
    decoder.prepare(SMALL, image(), Job())


def test_an_idle_worker_that_was_killed_is_replaced_without_an_error(make: Make) -> None:
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    (worker,) = workers()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not decoder._idle[0].is_alive)
    decoder.prepare(SMALL, image(), Job())
    assert workers() != [worker]
    assert make.endings == []  # type: ignore[attr-defined]


def test_a_fork_server_that_was_killed_is_replaced_without_an_error(make: Make) -> None:
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    os.kill(decoder._server.number, signal.SIGKILL)
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda _: decoder.prepare(SMALL, image(), Job()), range(8)))
    assert len(done) == 8


def test_workers_ignore_the_signals_of_a_terminal(make: Make) -> None:
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    before = workers()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(before[0], number)
        os.kill(decoder._server.number, number)
    decoder.prepare(SMALL, image(), Job())
    assert workers() == before


def test_closing_ends_all_processes_and_fails_what_runs(make: Make) -> None:
    decoder = make()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(decoder.make, SLOW, large(), Job())
        eventually(lambda: len(workers()) == 1)
        decoder.close()
        assert isinstance(running.exception(30), Overloaded)
    assert workers() == []


def test_images_that_wait_while_nothing_ends_are_a_stall(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "STALL_S", 0.2)
    decoder = make(width=1)
    assert not decoder.stalled
    with ThreadPoolExecutor(1) as threads:
        with decoder._turn(Job()):
            waiting = threads.submit(decoder.prepare, SMALL, image(), Job())
            eventually(lambda: decoder.stalled)
        waiting.result(30)
    assert not decoder.stalled


def test_many_images_at_once_are_all_answered(make: Make) -> None:
    decoder = make()
    files = [image(50 + number, 40) for number in range(60)]
    broken = image()[:200]

    def width(data: bytes) -> int | str:
        try:
            return decoder.prepare(SMALL, data, Job()).tiles[0].width
        except InvalidImage:
            return "broken"

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(width, [each for file in files for each in (file, broken)]))
    assert found[::2] == [50 + number for number in range(60)]
    assert set(found[1::2]) == {"broken"}
