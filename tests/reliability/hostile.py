"""Sends hostile files between good photographs, and counts what came back.

    python -m tests.reliability.hostile --clients 1 16 --shared ../shared

Each client sends a hostile file, then a good photograph, and so on, until every file was sent. It
prints one JSON object: the statuses, the good answers, those that changed, and what the service
held before and after.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from tests.cells import NAME, cells_image, encode, write_model
from tests.reliability import processes
from tests.reliability.pictures import Good, Hostile, ask_alone, made, stored
from tests.reliability.service import Process, running

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"SFD_TARGET_WAIT_S": "600", "SFD_REQUEST_TIMEOUT_S": "120"}
"""A slow machine must not turn good photographs away: here an answer counts, not its time."""
SAMPLE = ROOT / "service/static/sample.jpg"


async def send(url: str, files: Sequence[Hostile], good: Sequence[Good], clients: int) -> Any:
    """Send every file once; the statuses and what went wrong, as a JSON object."""
    waiting, turns = iter(files), count()
    statuses: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    wrong: list[str] = []
    same = 0

    async def client(session: httpx.AsyncClient) -> None:
        nonlocal same
        for file in waiting:
            name = f"{file.name}{file.query}"
            try:
                answer = await session.post(
                    f"/detect{file.query}",
                    content=file.data,
                    headers={"Content-Type": file.content_type},
                )
            except httpx.TransportError as error:
                wrong.append(f"{name}: no answer: {error!r}")
            else:
                statuses[str(answer.status_code)] += 1
                if "problem" in answer.headers.get("content-type", ""):
                    kinds[answer.json()["type"]] += 1
                # 503 and 504 are documented answers; 500 is a fault.
                if answer.status_code >= 500 and answer.status_code not in (503, 504):
                    wrong.append(f"{name}: {answer.status_code} {answer.text[:200]}")
            photo = good[next(turns) % len(good)]
            answer = await session.post("/detect", content=photo.data)
            if answer.status_code == 200 and photo.is_answer(answer.json()):
                same += 1
            else:
                wrong.append(f"{photo.name} after {name}: {answer.status_code} {answer.text[:200]}")

    started = time.monotonic()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=150, limits=limits) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return {
        "clients": clients,
        "hostile": len(files),
        "statuses": dict(statuses.most_common()),
        "problems": dict(kinds.most_common()),
        "good": same,
        "seconds": round(time.monotonic() - started, 1),
        "wrong": wrong,
    }


def attempt(
    process: Process, log: Path, files: Sequence[Hostile], good: Sequence[Good], clients: int
) -> Any:
    """`send`, with what the service held before and after, and the lines that are no JSON."""
    before = processes.held(process.pid)
    found = asyncio.run(send(process.url, files, good, clients))
    process.wait_until_idle()
    lines = log.read_text("utf-8", "replace").splitlines()
    return found | {
        "before": before.as_dict(),
        "after": processes.held(process.pid).as_dict(),
        "stray_lines": sum(not line.startswith("{") for line in lines),
        "tracebacks": sum('"exception"' in line or "Traceback" in line for line in lines),
        "restarts": int(not process.is_running),
    }


def main() -> None:
    """Run the passes and print their figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--shared", type=Path, help="send hostile/ and cases/images/ of a folder")
    parser.add_argument("--scale", type=int, default=5, help="how large the made files are")
    parser.add_argument(
        "--small", action="store_true", help="with the small model of the tests, so that it is fast"
    )
    arguments = parser.parse_args()
    files = made(arguments.scale)
    if arguments.shared:
        files += stored(arguments.shared / "hostile") + stored(arguments.shared / "cases/images")
    with tempfile.TemporaryDirectory() as name:
        folder, environment, good_files = Path(name), SETTINGS, {"sample": SAMPLE.read_bytes()}
        if arguments.small:
            write_model(folder / "store")
            environment = SETTINGS | {"SFD_MODEL_STORE": str(folder / "store"), "SFD_MODELS": NAME}
            good_files = {f"cell {cell}": encode(cells_image(cell, 15 - cell)) for cell in range(5)}
        with running(folder, environment) as (process, log):
            good = ask_alone(process.url, good_files)
            passes = [attempt(process, log, files, good, each) for each in arguments.clients]
    print(json.dumps(passes, indent=1))


if __name__ == "__main__":
    main()
