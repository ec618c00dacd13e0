"""The targets of the service's speed, each as a value that follows from the results."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.servers.measurements import (
    Rounds,
    best_peer,
    largest,
    peak,
    ratio,
    rounds,
)
from benchmarks.servers.results import Results

LOAD = "latency 70%"


@dataclass(frozen=True)
class Target:
    """A bound, and how its value is found."""

    what: str
    bound: float
    value: Callable[[Results], Rounds]
    at_least: bool = True
    digits: int = 2

    def reached(self, value: float) -> bool:
        """Whether a value reaches the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


def _speed(above: str, below: str) -> Callable[[Results], Rounds]:
    return lambda results: ratio(peak(results, above), peak(results, below))


def _over_best_peer(server: str) -> Callable[[Results], Rounds]:
    return lambda results: ratio(
        peak(results, server), best_peer(results, lambda peer: peak(results, peer))
    )


def _latency_over_best_peer(value: str) -> Callable[[Results], Rounds]:
    return lambda results: ratio(
        rounds(results, "ours", LOAD, value),
        best_peer(results, lambda peer: rounds(results, peer, LOAD, value), choose=min),
    )


def _goodput(server: str) -> Callable[[Results], Rounds]:
    return lambda results: ratio(
        rounds(results, server, "overload", "in_time_per_s"), peak(results, "ours")
    )


def _cost(size: str, server: str = "ours") -> Callable[[Results], Rounds]:
    return lambda results: ratio(
        rounds(results, server, f"size {size}", "cpu_ms"),
        rounds(results, server, "size 0.3 MP", "cpu_ms"),
    )


TARGETS = (
    Target("throughput: ours ÷ bare loop, file before merging", 1.05, _speed("ours", "loop")),
    Target("throughput: ours ÷ bare loop, merged file", 0.97, _speed("ours", "loop-merged")),
    Target(
        "throughput: ours ÷ best of LitServe, mosec, BentoML, Ray Serve",
        1.15,
        _over_best_peer("ours"),
    ),
    Target("throughput: ours in bfloat16 ÷ best of them", 1.8, _over_best_peer("ours-bf16")),
    Target("throughput: ours ÷ OpenCV app", 3.8, _speed("ours", "opencv")),
    Target("throughput: ours in bfloat16 ÷ OpenCV app", 6.0, _speed("ours-bf16", "opencv")),
    Target(
        "memory at saturation, MB",
        300,
        lambda results: largest(results, "ours", "pss_mb"),
        at_least=False,
        digits=0,
    ),
    Target(
        "start to first answer, s",
        1.0,
        lambda results: rounds(results, "ours", "start", "ready_s"),
        at_least=False,
    ),
    Target(
        "p50 at 70 % of the ceiling: ours ÷ best of them",
        1.0,
        _latency_over_best_peer("p50_ms"),
        at_least=False,
    ),
    Target(
        "p99 at 70 % of the ceiling: ours ÷ best of them",
        1.0,
        _latency_over_best_peer("p99_ms"),
        at_least=False,
    ),
    Target("3× overload: answered within 1 s ÷ peak throughput", 0.85, _goodput("ours")),
    Target("the same, `SFD_TARGET_WAIT_S=0.8`", 0.85, _goodput("ours-short-wait")),
    Target("CPU of 12 MP ÷ 0.3 MP", 1.3, _cost("12 MP"), at_least=False),
    Target("CPU of 24 MP ÷ 0.3 MP", 1.5, _cost("24 MP"), at_least=False),
    Target(
        "CPU of 12 MP ÷ 0.3 MP, reduced decoding",
        1.3,
        _cost("12 MP", "ours-reduced"),
        at_least=False,
    ),
    Target(
        "CPU of 24 MP ÷ 0.3 MP, reduced decoding",
        1.5,
        _cost("24 MP", "ours-reduced"),
        at_least=False,
    ),
)
