"""With everything going wrong at once, each accepted request is answered once, under its own id.

`python -m tests.reliability.soak` describes what goes wrong. Short: seconds, with a small model.
Long (`make soak`): 20 minutes, or SFD_SOAK_MINUTES, with the real one.
"""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.reliability.clients import MIX
from tests.reliability.hostile import SAMPLE
from tests.reliability.soak import Soak

MINUTES = float(os.environ.get("SFD_SOAK_MINUTES", "20"))


def test_a_short_soak_breaks_no_promise(
    store: Path, tmp_path: Path, bright_cells: Callable[..., bytes]
) -> None:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_THREADS": "1"}
    photographs = {f"cell {cell}": bright_cells(cell) for cell in (0, 5, 15)}
    soak = Soak(tmp_path, 0.15, environment, photographs, ("steady", "full"))
    found = asyncio.run(soak.run())
    assert found["failures"] == []
    assert set(found["outcomes"]) == set(MIX)
    assert found["outcomes"]["good"]["200"] > 20
    assert found["outcomes"]["poison"]["500"] > 0


@pytest.mark.soak
def test_a_long_soak_breaks_no_promise(
    built_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    missing: Callable[[str], NoReturn],
) -> None:
    soak = Soak(tmp_path, MINUTES, {}, {"sample": SAMPLE.read_bytes()})
    found = asyncio.run(soak.run())
    with capsys.disabled():
        print(json.dumps(found, indent=1))
    assert found["failures"] == []
    if skipped := [reason for life in found["lives"] for reason in life["skipped"]]:
        missing("; ".join(sorted(set(skipped))))
