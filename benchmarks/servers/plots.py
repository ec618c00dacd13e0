"""The pictures of a comparison."""

import hashlib
from collections.abc import Callable

from benchmarks.drawing import OURS, THEIRS, figure, svg
from benchmarks.servers.comparison import CLIENTS, LOADS
from benchmarks.servers.contenders import CONTENDERS, Kind
from benchmarks.servers.measurements import median, peak, rounds
from benchmarks.servers.results import Results

LOOP = "#999999"


def digest(results: Results) -> str:
    """The hash of the results that a picture was drawn from; it stands in the picture."""
    return hashlib.sha256(results.text().encode()).hexdigest()


def throughput(results: Results) -> bytes:
    """Bars of images per second, at the best number of clients."""
    rates = {name: median(peak(results, name)) for name in CONTENDERS}
    shown = [(name, rate) for name, rate in rates.items() if rate is not None][::-1]
    drawn, axes = figure(0.45 * len(shown) + 1.2)
    titles = [CONTENDERS[name].title for name, _ in shown]
    colours = {Kind.OURS: OURS, Kind.LOOP: LOOP}
    bars = axes.barh(
        titles,
        [rate for _, rate in shown],
        color=[colours.get(CONTENDERS[name].kind, THEIRS) for name, _ in shown],
    )
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_xlabel(f"images per second, best of {', '.join(map(str, CLIENTS))} clients")
    axes.margins(x=0.1)
    return svg(drawn, digest(results))


def latency(results: Results) -> bytes:
    """Median and 99th percentile at shares of the ceiling."""
    drawn, axes = figure(4.5)
    for name, contender in CONTENDERS.items():
        points = []
        for load in LOADS:
            cell = f"latency {load:.0%}"
            p50 = median(rounds(results, name, cell, "p50_ms"))
            p99 = median(rounds(results, name, cell, "p99_ms"))
            if p50 is not None and p99 is not None:
                points.append((load * 100, p50, p99))
        if points:
            loads, p50s, p99s = zip(*points, strict=True)
            wide = 2.5 if contender.kind is Kind.OURS else 1.2
            (line,) = axes.plot(loads, p99s, "o-", linewidth=wide, label=contender.title)
            axes.plot(loads, p50s, ":", linewidth=wide, color=line.get_color())
    axes.set_yscale("log")
    axes.set_xlabel("load, % of the ceiling")
    axes.set_ylabel("ms: p99 (line), p50 (dots)")
    axes.grid(visible=True, alpha=0.3)
    drawn.legend(loc="outside right upper", fontsize=8)
    return svg(drawn, digest(results))


def overload(results: Results) -> bytes:
    """Bars of the images answered within a second at three times the ceiling."""
    rates = {
        name: median(rounds(results, name, "overload", "in_time_per_s")) for name in CONTENDERS
    }
    shown = [(name, rate) for name, rate in rates.items() if rate is not None][::-1]
    drawn, axes = figure(0.45 * len(shown) + 1.2)
    bars = axes.barh(
        [CONTENDERS[name].title for name, _ in shown],
        [rate for _, rate in shown],
        color=[OURS if CONTENDERS[name].kind is Kind.OURS else THEIRS for name, _ in shown],
    )
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_xlabel("images per second answered within 1 s, at 3 times the ceiling")
    axes.margins(x=0.1)
    return svg(drawn, digest(results))


PLOTS: dict[str, Callable[[Results], bytes]] = {
    "throughput": throughput,
    "latency": latency,
    "overload": overload,
}
"""By the name of the file."""
