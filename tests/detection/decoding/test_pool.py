"""Real worker processes, with real and with hostile image files."""

import io
import mmap
import os
import re
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detection.decoding import places, pool, process
from detection.decoding.job import Job
from detection.decoding.limits import Limits
from detection.decoding.pixels import PixelMemory
from detection.decoding.places import niceness
from detection.decoding.pool import ProcessDecoder, ThreadDecoder, running
from detection.decoding.tasks import Crop, Draw, Prepare
from detection.decoding.usage import total_cpu_seconds
from detection.errors import (
    InvalidImage,
    OutOfMemory,
    Overloaded,
    Timeout,
    TooExpensive,
    TooManyPixels,
)
from tests.pages import needs_huge_pages
from tests.reliability import processes

MEAN = (123, 117, 104)
SMALL = Prepare(64, 64, 3, MEAN, 50_000_000, 1, oversampling=None)
TILES = Prepare(64, 64, 3, MEAN, 50_000_000, 20, oversampling=None)

Make = Callable[..., ProcessDecoder]


def image(width: int = 100, height: int = 50, kind: str = "PNG", **options: object) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def even(width: int, height: int, kind: str = "JPEG", **options: object) -> bytes:
    """A picture of one colour: its file is small, and its pixels take memory all the same."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 10, 10)).save(file, kind, **options)
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


def decoder_of(width: int, limits: Limits, on_end: Callable[[str], None]) -> ProcessDecoder:
    memory = PixelMemory(64 * 64 * 3, 32, spare=running(width) * 20)
    return ProcessDecoder(width, limits, memory, on_end)


@pytest.fixture
def make() -> Iterator[Make]:
    made = []

    def start(width: int = 2, cpu: float = 60, memory: int = 2**30) -> ProcessDecoder:
        made.append(decoder_of(width, Limits(cpu, memory), endings.append))
        return made[-1]

    endings: list[str] = []
    start.endings = endings  # type: ignore[attr-defined]
    yield start
    for decoder in made:
        decoder.close()


@pytest.fixture(scope="module")
def usual() -> Iterator[ProcessDecoder]:
    """A decoder for all tests that do not stop its workers or look at them."""
    endings: list[str] = []
    decoder = decoder_of(2, Limits(60, 2**30), endings.append)
    yield decoder
    decoder.close()
    assert endings == []


def workers(decoder: ProcessDecoder) -> list[int]:
    """The process numbers of its workers."""
    return processes.descendants(decoder._server.number)


def has_ended(process: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True


def eventually(condition: Callable[[], bool]) -> None:
    latest = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < latest
        time.sleep(0.01)


@pytest.mark.parametrize("task", [SMALL, TILES])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_worker_prepares_what_a_thread_does(
    usual: ProcessDecoder, task: Prepare, kind: str
) -> None:
    data = image(300, 200, kind)
    here = ThreadDecoder().prepare(task, data, Job())
    there = usual.prepare(task, data, Job())
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
def test_a_worker_makes_the_files_that_a_thread_makes(
    usual: ProcessDecoder, task: Draw | Crop
) -> None:
    data = image()
    assert usual.make(task, data, Job()) == ThreadDecoder().make(task, data, Job())


def test_crops_end_at_the_most_bytes(usual: ProcessDecoder) -> None:
    boxes = [[10, 10, 30, 30]] * 50
    everything = usual.make(Crop(boxes, 0, 64, 10**6, MEAN, 10**6), image(), Job())
    few = usual.make(Crop(boxes, 0, 64, len(everything[0]) * 2, MEAN, 10**6), image(), Job())
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
    usual: ProcessDecoder, data: bytes, kind: type[Exception], message: str
) -> None:
    for decoder in (usual, ThreadDecoder()):
        with pytest.raises(kind, match=message):
            decoder.prepare(SMALL, data, Job())


def test_a_worker_is_used_again(make: Make) -> None:
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    before = workers(decoder)
    with pytest.raises(InvalidImage):
        decoder.prepare(SMALL, image()[:200], Job())
    decoder.prepare(SMALL, image(), Job())
    assert workers(decoder) == before
    assert len(before) == 1


def test_an_image_over_its_cpu_time_is_stopped(make: Make) -> None:
    decoder = make(cpu=0.5)
    with pytest.raises(TooExpensive, match="takes too long to decode or draw: more than 0"):
        decoder.make(SLOW, large(), Job())
    assert make.endings == ["cpu"]  # type: ignore[attr-defined]
    assert workers(decoder) == []
    decoder.prepare(SMALL, image(), Job())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")
@pytest.mark.parametrize("options", [{"kind": "PNG"}, {"progressive": True}])
def test_an_image_over_its_memory_is_refused(make: Make, options: dict[str, Any]) -> None:
    decoder = make(memory=100 * 2**20)
    data = even(7000, 5000, **options)
    with pytest.raises(TooExpensive, match="too much memory to decode or draw: more than 100 MiB"):
        decoder.prepare(SMALL, data, Job())
    decoder.prepare(SMALL, image(), Job())


def test_an_image_above_the_usual_memory_is_decoded_alone_by_a_worker_of_its_own(
    make: Make,
) -> None:
    decoder = make(memory=400 * 2**20)
    data = even(7000, 5000)
    decoder.prepare(SMALL, image(), Job())
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: decoder.prepare(SMALL, data, Job()), range(4)))
    assert {each.tiles[0].width for each in done} == {7000}
    eventually(lambda: len(workers(decoder)) <= 2)


def test_the_deadline_of_a_running_image_stops_its_worker(make: Make) -> None:
    decoder = make()
    with pytest.raises(Timeout):
        decoder.make(SLOW, large(), Job(expires=time.monotonic() + 0.5))
    assert make.endings == ["timeout"]  # type: ignore[attr-defined]
    assert workers(decoder) == []


def test_a_caller_that_no_longer_waits_stops_its_worker(make: Make) -> None:
    decoder, job = make(), Job()
    threading.Timer(0.4, job.over.set).start()
    with pytest.raises(Timeout):
        decoder.make(SLOW, large(), job)
    assert make.endings == ["timeout"]  # type: ignore[attr-defined]


def test_a_deadline_passes_while_an_image_waits_for_a_place(make: Make) -> None:
    decoder = make(width=1)
    with decoder._places.take(Job()), pytest.raises(Timeout):
        decoder.prepare(SMALL, image(), Job(expires=time.monotonic() + 0.1))


def test_slow_images_leave_their_places_to_others(make: Make) -> None:
    decoder = make(width=1)
    jobs = [Job() for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(decoder.make, SLOW, large(), job) for job in jobs]
        eventually(lambda: decoder._places._gone == 3)
        decoder.prepare(SMALL, image(), Job())
        assert not any(each.done() for each in running)
        levels = {os.getpriority(os.PRIO_PROCESS, worker) for worker in workers(decoder)}
        assert max(levels) >= 5
        for job in jobs:
            job.over.set()
        assert all(isinstance(each.exception(30), Timeout) for each in running)


def test_too_many_slow_images_make_room_for_those_that_wait(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST_SLOW", 2)
    monkeypatch.setattr(places, "PATIENCE_S", 0.5)
    decoder = make(width=1)
    jobs = [Job() for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(decoder.make, SLOW, large(), job) for job in jobs]
        eventually(lambda: len(decoder._places._beyond) == 3)
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
        eventually(lambda: decoder._places._gone == 1)
        first = workers(decoder)
        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: len(workers(decoder)) == 1 and workers(decoder) != first)
        # The new worker is there a moment before the end of the old one is reported.
        eventually(lambda: make.endings == ["crash"])  # type: ignore[attr-defined]
        job.over.set()
        assert isinstance(running.exception(30), Timeout)


def failure_if_workers_end(decoder: ProcessDecoder, by: signal.Signals, times: int) -> object:
    """What an image is answered whose workers are ended so many times, one after the other."""
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(decoder.make, SLOW, large(), Job())
        seen: set[int] = set()
        for _ in range(times):
            eventually(lambda: bool(set(workers(decoder)) - seen))
            (worker,) = set(workers(decoder)) - seen
            seen.add(worker)
            os.kill(worker, by)
        return running.exception(30)


def test_an_image_that_makes_workers_crash_twice_is_refused(make: Make) -> None:
    decoder = make()
    failure = failure_if_workers_end(decoder, signal.SIGSEGV, 2)
    assert isinstance(failure, TooExpensive)
    assert "the decoder failed on this image" in str(failure)
    assert make.endings == ["crash", "crash"]  # type: ignore[attr-defined]
    decoder.prepare(SMALL, image(), Job())


def test_an_image_whose_workers_are_killed_is_not_blamed(make: Make) -> None:
    decoder = make()
    failure = failure_if_workers_end(decoder, signal.SIGKILL, 2)
    assert isinstance(failure, OutOfMemory)
    assert "were killed" in str(failure)
    assert make.endings == ["crash"] * 2  # type: ignore[attr-defined]
    decoder.prepare(SMALL, image(), Job())


def test_an_image_whose_worker_was_killed_gets_a_new_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle workers of a killed fork server may look alive for a moment."""
    decoder = make()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: decoder.prepare(SMALL, large(), Job()), range(2)))
    idle = workers(decoder)
    assert len(idle) == 2
    monkeypatch.setattr(process.Process, "is_alive", True)
    for worker in idle:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: all(map(has_ended, idle)))
    decoder.prepare(SMALL, image(), Job())
    assert make.endings == ["crash"]  # type: ignore[attr-defined]


def test_an_idle_worker_that_was_killed_is_replaced_without_an_error(make: Make) -> None:
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    (worker,) = workers(decoder)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not decoder._idle[0].is_alive)
    decoder.prepare(SMALL, image(), Job())
    assert workers(decoder) != [worker]
    assert make.endings == []  # type: ignore[attr-defined]


def test_a_fork_server_that_was_killed_is_replaced_without_an_error(make: Make) -> None:
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    before = decoder.cpu_seconds()
    os.kill(decoder._server.number, signal.SIGKILL)
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda _: decoder.prepare(SMALL, image(), Job()), range(8)))
    assert len(done) == 8
    used = total_cpu_seconds(decoder._server.number)
    assert decoder.cpu_seconds() >= before + used > before > 0


def test_workers_ignore_the_signals_of_a_terminal(make: Make) -> None:
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    before = workers(decoder)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(before[0], number)
        os.kill(decoder._server.number, number)
    decoder.prepare(SMALL, image(), Job())
    assert workers(decoder) == before


def test_closing_ends_all_processes_and_fails_what_runs(make: Make) -> None:
    decoder = make()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(decoder.make, SLOW, large(), Job())
        eventually(lambda: len(workers(decoder)) == 1)
        both = [decoder._server.number, *workers(decoder)]
        decoder.close()
        assert isinstance(running.exception(30), Overloaded)
    eventually(lambda: all(map(has_ended, both)))


def test_images_that_wait_while_nothing_ends_are_a_stall(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "STALL_S", 0.2)
    decoder = make(width=1)
    assert not decoder.stalled
    with ThreadPoolExecutor(1) as threads:
        with decoder._places.take(Job()):
            waiting = threads.submit(decoder.prepare, SMALL, image(), Job())
            eventually(lambda: decoder.stalled)
        waiting.result(30)
    assert not decoder.stalled


def test_many_images_at_once_are_all_answered(usual: ProcessDecoder) -> None:
    files = [image(50 + number, 40) for number in range(60)]
    broken = image()[:200]

    def width(data: bytes) -> int | str:
        try:
            return usual.prepare(SMALL, data, Job()).tiles[0].width
        except InvalidImage:
            return "broken"

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(width, [each for file in files for each in (file, broken)]))
    assert found[::2] == [50 + number for number in range(60)]
    assert set(found[1::2]) == {"broken"}


def test_more_tiled_images_than_slots_are_all_prepared(usual: ProcessDecoder) -> None:
    data = image(300, 200)
    with ThreadPoolExecutor(40) as threads:
        done = list(threads.map(lambda _: usual.prepare(TILES, data, Job()), range(40)))
    expected = ThreadDecoder().prepare(TILES, data, Job())
    for each in done:
        assert len(each.pictures) == len(expected.pictures) > 10
        for one, other in zip(each.pictures, expected.pictures, strict=True):
            assert np.array_equal(one, other)


def test_a_refused_file_is_not_opened(make: Make) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        length, check = len(data).to_bytes(4, "big"), zlib.crc32(kind + data).to_bytes(4, "big")
        return length + kind + data + check

    plain = image()
    header = plain.index(b"IDAT") - 4
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10)))
    decoder = make(cpu=1)
    with pytest.raises(InvalidImage):
        decoder.prepare(SMALL, plain[:header] + profile * 100_000 + plain[header:], Job())
    assert make.endings == []  # type: ignore[attr-defined]


def test_workers_end_with_the_fork_server(make: Make) -> None:
    decoder, job = make(), Job()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(decoder.make, SLOW, large(), job)
        eventually(lambda: len(workers(decoder)) == 1)
        (worker,) = workers(decoder)
        os.kill(decoder._server.number, signal.SIGKILL)
        # The image is decoded again, by a worker of a new server.
        eventually(lambda: workers(decoder) not in ([], [worker]))
        assert has_ended(worker)
        job.over.set()
        assert isinstance(running.exception(30), Timeout)


def test_an_image_that_stops_two_workers_is_not_called_a_lack_of_memory(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SILENCE_S", 1)
    decoder = make()
    # Too large for the socket: sending it fails after the silence.
    data = image(2000, 1500)
    assert len(data) > 1_000_000
    start = decoder._server.fork

    def stopped() -> process.Process:
        worker = start()
        os.kill(worker.number, signal.SIGSTOP)
        return worker

    monkeypatch.setattr(decoder._server, "fork", stopped)
    with pytest.raises(TooExpensive, match="the decoder failed on this image"):
        decoder.prepare(SMALL, data, Job())
    assert make.endings == ["crash"] * 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(100, 50), (2000, 1500)])
def test_a_worker_that_stops_is_replaced(
    make: Make, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(process, "SILENCE_S", 1)
    monkeypatch.setattr(pool, "HANG_S", 1)
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    os.kill(workers(decoder)[0], signal.SIGSTOP)
    data = image(*size)
    if len(data) < 100_000:
        # It waits in the socket, so only the missing reply shows.
        with pytest.raises(TooExpensive, match="makes no progress"):
            decoder.prepare(SMALL, data, Job())
        assert make.endings == ["crash"]  # type: ignore[attr-defined]
    decoder.prepare(SMALL, data, Job())


def test_workers_get_no_keys_and_write_no_core_files(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFD_API_KEYS", "a-secret-key")
    decoder = make()
    decoder.prepare(SMALL, image(), Job())
    (worker,) = workers(decoder)
    for each in (worker, decoder._server.number):
        assert b"a-secret-key" not in Path(f"/proc/{each}/environ").read_bytes()
    limits = Path(f"/proc/{worker}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0", limits)
    assert Path(f"/proc/{worker}/oom_score_adj").read_text() == "1000\n"


def test_modules_in_the_current_folder_are_not_those_of_python(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the real json')")
    monkeypatch.chdir(tmp_path)
    make().prepare(SMALL, image(), Job())


def test_what_the_processes_use_is_known(make: Make) -> None:
    decoder = make(cpu=0.5)
    decoder.prepare(SMALL, image(), Job())
    assert decoder.memory() > 10 * 2**20
    before = decoder.cpu_seconds()
    with pytest.raises(TooExpensive):
        decoder.make(SLOW, large(), Job())
    # The worker that used it has ended.
    assert decoder.cpu_seconds() - before > 0.4


@needs_huge_pages
def test_a_large_picture_gets_huge_pages(make: Make) -> None:
    decoder = make()
    picture = even(4000, 3000)
    decoder.prepare(SMALL, picture, Job())
    (worker,) = workers(decoder)
    before = page_faults(worker)
    decoder.prepare(SMALL, picture, Job())
    assert workers(decoder) == [worker]
    pages = 4 * 4000 * 3000 / mmap.PAGESIZE
    assert page_faults(worker) - before < pages / 4


def page_faults(number: int) -> int:
    """How many pages a process has got from the system, field 10 of its stat file."""
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[10 - 3])


def test_too_many_large_images_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LARGE_LINE", 1)
    decoder = make(memory=600 * 2**20)
    data = black(7000, 5000)
    with decoder._places.large(Job()), pytest.raises(OutOfMemory, match="too many large images"):
        decoder.prepare(SMALL, data, Job())
    decoder.prepare(SMALL, data, Job())


@pytest.mark.parametrize("orientation", [1, 6], ids=["upright", "turned"])
def test_a_photograph_of_24_megapixels_does_not_count_as_large(
    make: Make, monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    """By the service's default limits it is decoded at the first try."""
    monkeypatch.setattr(places, "LARGE_LINE", 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoder = make(memory=Limits.of(5, None, 50_000_000).memory)
    prepared = decoder.prepare(SMALL, even(6000, 4000, exif=exif), Job())
    across = prepared.pictures[0][:, 32] if orientation == 6 else prepared.pictures[0][32]
    assert (np.abs(across - np.array((200, 10, 10))) <= 3).all()
