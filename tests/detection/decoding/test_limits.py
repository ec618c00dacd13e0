"""What one image may cost."""

import signal
import subprocess
import sys
import textwrap

import pytest

from detection.decoding.limits import BASE_MEMORY, BYTES_PER_PIXEL, Limits

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")


def in_process(code: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a process of its own, whose limits end with it."""
    start = "from detection.decoding.limits import *\n"
    return subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_memory_follows_from_the_largest_image_unless_it_is_set() -> None:
    derived = Limits.of(5, None, 1_000_000)
    assert derived.memory == BASE_MEMORY + 1_000_000 * BYTES_PER_PIXEL
    assert derived.usual_memory == derived.memory
    assert Limits(5, 6 * 200 * 2**20).usual_memory == 200 * 2**20
    assert Limits.of(5, 10**9, 1_000_000).memory == 10**9


@pytest.mark.parametrize(
    ("pixels", "large", "expected"),
    [(1_000, False, False), (4_000_000, False, True), (4_000_000, True, False),
     (60_000_000, True, True)],
)  # fmt: skip
def test_an_image_is_short_of_memory_by_its_size(pixels: int, large: bool, expected: bool) -> None:
    assert Limits(5, 600 * 2**20).may_be_short(pixels, large=large) is expected


@linux
def test_more_memory_than_allowed_is_a_memory_error() -> None:
    ended = in_process(
        """
        base = used_memory()
        allow_memory(base + 50 * 2**20)
        kept = bytearray(30 * 2**20)
        try:
            bytearray(40 * 2**20)
        except MemoryError:
            print("refused")
        allow_memory(base + 90 * 2**20)
        bytearray(40 * 2**20)
        """
    )
    assert (ended.stdout, ended.stderr) == ("refused\n", "")


def test_more_cpu_time_than_allowed_ends_the_process() -> None:
    ended = in_process("allow_cpu(0.1)\nwhile True: pass")
    assert ended.returncode == -signal.SIGXCPU


def test_cpu_time_is_allowed_anew_for_each_image() -> None:
    ended = in_process(
        """
        import time
        allow_cpu(1)
        while time.process_time() < 1: pass
        allow_cpu(3)
        while time.process_time() < 3.2: pass
        print("done")
        """
    )
    assert ended.stdout == "done\n"


@linux
def test_a_lower_limit_of_the_system_stays() -> None:
    ended = in_process(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_DATA, (10**9, 10**9))
        allow_memory(10**12)
        print(*resource.getrlimit(resource.RLIMIT_DATA))
        """
    )
    assert ended.stdout.split() == [str(10**9)] * 2
