"""The memory of a job does not grow with the number of pictures."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
COUNT = 100_000
SAMPLE_S = 0.5


def resident(process: "subprocess.Popen[str]") -> int | None:
    """The resident memory in bytes; None if the process has ended."""
    try:
        pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_memory_stays_flat_over_100000_pictures(
    tmp_path: Path, command: Callable[..., "subprocess.Popen[str]"], tiny_store: Path,
    many_pictures: Callable[[Path, int], None],
) -> None:  # fmt: skip
    few, many = tmp_path / "few", tmp_path / "many"
    many_pictures(few, 50)
    files = sorted(few.iterdir())
    many.mkdir()
    for number in range(COUNT):
        os.link(files[number % len(files)], many / f"{number:06}.jpg")
    job = command(
        "--bulk", many, "--out", tmp_path / "out", "--min-score", "0.3", "--max-faces", "5",
        SFD_MODEL_STORE=str(tiny_store), SFD_MODELS="tiny", SFD_PROVIDER="cpu",
        # all memory is that of one process
        SFD_DECODING="threads",
    )  # fmt: skip
    samples: list[tuple[int, int]] = []
    while job.poll() is None:
        done = len(list(tmp_path.glob("out/results/part-*")))
        if (size := resident(job)) and done:
            samples.append((done, size))
        time.sleep(SAMPLE_S)
    _, said = job.communicate()
    assert job.returncode == 0, said
    assert f"{COUNT} pictures done, {COUNT // 50} failed" in said
    tenths = [
        statistics.median(size for done, size in samples if tenth * 10 <= done < tenth * 10 + 10)
        for tenth in range(10)
    ]
    print("MB by tenths of the job:", *(round(size / 1e6) for size in tenths))
    assert max(tenths[1:]) < 1.1 * tenths[1]
