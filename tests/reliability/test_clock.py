"""Deadlines, waits and durations are of the monotonic clock: the wall clock may jump."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.reliability.hostile import SETTINGS
from tests.reliability.pictures import ask_alone
from tests.reliability.service import BREAKING, running

JUMPING = """
import itertools, time
years = itertools.cycle((0, 10, -10, 0.5, -30))
wall = time.time
time.time = lambda: wall() + next(years) * 365 * 86400
"""
"""Python to run before the service: each look at the wall clock sees another year."""


def test_jumps_of_the_wall_clock_change_no_answer(
    store: Path, tmp_path: Path, bright_cells: Callable[..., bytes]
) -> None:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_THREADS": "1"}
    with running(tmp_path, environment | SETTINGS, JUMPING + BREAKING) as (process, log):
        (good,) = ask_alone(process.url, {"cell": bright_cells(5)})
        with httpx.Client(base_url=process.url, timeout=60) as client:
            for _ in range(20):
                answer = client.post("/detect", content=good.data)
                assert answer.status_code == 200
                assert good.is_answer(answer.json())
                assert all(0 <= ms < 60_000 for ms in answer.json()["timings_ms"].values())
        years = re.findall(r'"time": "(\d{4})-', log.read_text())
        assert len(set(years)) > 2, "the clock did not jump"
        process.terminate()
        assert process.exit_code(40) == 0
