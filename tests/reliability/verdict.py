"""Judges a soak: each promise that was broken, and the figures."""

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tests.reliability.clients import (
    EXPECTED,
    GOOD,
    LEAVING,
    SLOW,
    Clients,
    Sent,
    counted,
    percentile,
)
from tests.reliability.lives import Life
from tests.reliability.processes import Held

GROWTH, GROWTH_MB = 1.10, 16
"""Memory at the end over that after the warm-up, and a constant for the allocator's steps."""
MORE_THREADS = 6
"""The soak fills the pools at its start, but asyncio's for `to_thread` may still grow, up to the
number of cores and four more."""
MORE_DESCRIPTORS = 8
"""Connections that are just closing, and a decoder that is just being started."""


def failures(clients: Clients, lives: Sequence[Life]) -> Iterator[str]:
    """Every promise that was broken."""
    for sent in clients.sent:
        if problem := _problem_of(sent, lives):
            yield f"{sent.id} ({sent.kind}): {problem}"
    for life in lives:
        if life.broken:
            yield f"{life.name}: {life.broken}"
            continue
        if life.exit_code != 0:
            yield f"{life.name}: exit code {life.exit_code} after SIGTERM"
        if not life.kills:
            yield f"{life.name}: no decoder was found to be killed"
        if len(life.rest) == 2:
            yield from _growth(life.name, *life.rest)
        if life.log is not None:
            yield from _log(life, clients.sent)


def _problem_of(sent: Sent, lives: Sequence[Life]) -> str | None:
    """What is wrong with what came of a request; None if nothing is."""
    if sent.kind == LEAVING:
        return None
    if sent.status is None:
        # Refused, or accepted by the kernel and not by the ending service. `_log` looks whether the
        # service knew it.
        return None if _while_away(sent, lives) else f"no answer: {sent.error}"
    if not sent.is_right:
        return f"{sent.status} with the wrong faces or id, or 503 without Retry-After"
    # A killed decoder excuses nothing: its image is decoded again.
    if sent.status in (EXPECTED[sent.kind], 503):
        return None
    return f"{sent.status}, not {EXPECTED[sent.kind]}"


def _while_away(sent: Sent, lives: Sequence[Life]) -> bool:
    """Whether a request overlaps the time from a SIGTERM until the next service is ready."""
    nexts = [life.ready for life in lives[1:]] + [math.inf]
    return any(
        sent.began <= ready and sent.ended >= life.ending
        for life, ready in zip(lives, nexts, strict=True)
    )


def _growth(name: str, before: Held, after: Held) -> Iterator[str]:
    if after.memory_mb > GROWTH * before.memory_mb + GROWTH_MB:
        yield f"{name}: memory grew, {before.memory_mb} to {after.memory_mb} MB"
    if after.threads > before.threads + MORE_THREADS:
        yield f"{name}: threads grew, {before.threads} to {after.threads}"
    if after.descriptors > before.descriptors + MORE_DESCRIPTORS:
        yield f"{name}: descriptors grew, {before.descriptors} to {after.descriptors}"


def _log(life: Life, sent: Sequence[Sent]) -> Iterator[str]:
    """Each request has one line in the log, with the status that its client saw."""
    assert life.log is not None
    logged: dict[str, list[int]] = {}
    for line in life.log.read_text("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            yield f"{life.name}: a line of the log is no JSON: {line[:100]}"
            continue
        if entry.get("logger") == "service.access" and entry["path"] == "/detect":
            logged.setdefault(entry["request_id"], []).append(entry["status"])
    for each in sent:
        statuses = logged.get(each.id, [])
        if len(statuses) > 1:
            yield f"{each.id}: answered {len(statuses)} times"
        elif each.kind == LEAVING:
            continue
        elif each.kind == SLOW and each.status is None and statuses[:1] in ([503], [504]):
            # It was still sending when it was answered and the connection closed: the answer may be
            # lost with the reset that its next bytes cause (RFC 9112, section 9.6).
            continue
        elif statuses and each.status is None:
            yield f"{each.id} ({each.kind}): accepted ({statuses[0]}), but lost: {each.error}"
        elif statuses and statuses != [each.status]:
            yield f"{each.id}: {each.status}, but the log says {statuses[0]}"
        elif not statuses and life.ready <= each.began and each.ended <= life.ending:
            yield f"{each.id}: {each.status}, but not in the log"


def figures(
    clients: Clients, lives: Sequence[Life], minutes: float, capacity: float
) -> dict[str, Any]:
    """The figures of a soak, as a JSON object."""
    broken = list(failures(clients, lives))
    took = [s.ended - s.began for s in clients.sent if (s.kind, s.status) == (GOOD, 200)]
    return {
        "minutes": minutes,
        "capacity_per_s": round(capacity, 1),
        "rate_per_s": round(clients.highest_rate, 1),
        "requests": len(clients.sent),
        "not_sent": clients.not_sent,
        "outcomes": counted(clients.sent),
        "seconds": {
            name: round(percentile(took, share) or 0, 3)
            for name, share in {"p50": 0.5, "p99": 0.99}.items()
        },
        "lives": [_figures_of(life) for life in lives],
        "failed": len(broken),
        "failures": broken[:50],
        "failures_by_kind": dict(Counter(re.sub(r"soak-\d+|[\d.]+", "", each) for each in broken)),
    }


def _figures_of(life: Life) -> dict[str, Any]:
    return {
        "name": life.name,
        "stderr": life.stderr,
        "skipped": life.skipped,
        "decoders_killed": len(life.kills),
        "clock_jumps": life.jumps,
        "exit_code": life.exit_code,
        "seconds_to_end": round(life.ended - life.ending, 1),
        "at_rest": [each.as_dict() for each in life.rest],
        "under_load": {
            name: _spread([each.as_dict()[name] for each in life.samples])
            for name in ("memory_mb", "threads", "descriptors")
            if life.samples
        },
    }


def _spread(values: list[float]) -> dict[str, float]:
    half = len(values) // 2
    return {
        "first_half": round(statistics.median(values[:half] or values), 1),
        "second_half": round(statistics.median(values[half:]), 1),
        "most": max(values),
    }
