"""Reads results: medians over the rounds, their spread, and ratios within a round."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.servers.contenders import CONTENDERS, Kind
from benchmarks.servers.results import Results


@dataclass(frozen=True)
class Spread:
    """A value over the rounds."""

    median: float
    low: float
    high: float


Rounds = dict[int, float]
"""A value of each round that has it."""


def rounds(results: Results, server: str, cell: str, value: str) -> Rounds:
    """A value of a cell in each round."""
    return {
        each["round"]: each[value]
        for each in results.data["cells"]
        if (each["server"], each["cell"]) == (server, cell) and each.get(value) is not None
    }


def peak(results: Results, server: str) -> Rounds:
    """The images per second of a server with the number of clients that suits it best."""
    best: Rounds = {}
    for each in results.data["cells"]:
        if each["server"] == server and each["cell"].startswith("saturation"):
            turn, rate = each["round"], each["images_per_s"]
            best[turn] = max(rate, best.get(turn, 0.0))
    return best


def largest(results: Results, server: str, value: str) -> Rounds:
    """The largest value of a server over its cells of saturation, in each round."""
    most: Rounds = {}
    for each in results.data["cells"]:
        if each["server"] == server and each["cell"].startswith("saturation"):
            most[each["round"]] = max(each[value] or 0.0, most.get(each["round"], 0.0))
    return most


def best_peer(
    results: Results, value: Callable[[str], Rounds], *, choose: Callable[..., float] = max
) -> Rounds:
    """The best value of the general-purpose servers in each round."""
    peers = [value(name) for name, each in CONTENDERS.items() if each.kind is Kind.PEER]
    turns = {turn for found in peers for turn in found}
    return {turn: choose(found[turn] for found in peers if turn in found) for turn in turns}


def ratio(above: Rounds, below: Rounds) -> Rounds:
    """The ratio within each round that has both."""
    return {turn: above[turn] / below[turn] for turn in above.keys() & below.keys() if below[turn]}


def spread(values: Rounds) -> Spread | None:
    """Median, least and greatest; None without a value."""
    found = list(values.values())
    return Spread(statistics.median(found), min(found), max(found)) if found else None


def median(values: Rounds) -> float | None:
    """The median over the rounds; None without a value."""
    return statistics.median(values.values()) if values else None
