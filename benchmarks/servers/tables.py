"""The tables of a comparison, as Markdown, from its results alone."""

from collections.abc import Callable

from benchmarks.markdown import table
from benchmarks.servers.comparison import (
    BATCH_CLIENTS,
    BATCHES,
    CLIENTS,
    COST_CLIENTS,
    LOADS,
    SHORT_WAIT_S,
)
from benchmarks.servers.contenders import CONTENDERS
from benchmarks.servers.measurements import (
    Rounds,
    largest,
    median,
    peak,
    ratio,
    rounds,
    spread,
)
from benchmarks.servers.pictures import FACES, FORMATS, PORTRAIT, SIZES
from benchmarks.servers.quiet import is_quiet
from benchmarks.servers.results import Results
from benchmarks.servers.targets import TARGETS

NOTHING = "–"
ROUNDS = 3
"""Results of fewer are a trial."""


def number(value: float | None, digits: int = 0) -> str:
    """A number for a reader; a dash for none."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def ranged(values: Rounds, digits: int = 1) -> str:
    """The median and, in brackets, the least and the greatest over the rounds."""
    found = spread(values)
    if found is None:
        return NOTHING
    shown = number(found.median, digits)
    if len(values) > 1:
        shown += f" ({number(found.low, digits)}–{number(found.high, digits)})"
    return shown


def targets(results: Results) -> str:
    """Every target with what was reached."""
    rows = []
    for target in TARGETS:
        values = target.value(results)
        value = median(values)
        sign = "≥" if target.at_least else "≤"
        verdict = NOTHING if value is None else "yes" if target.reached(value) else "no"
        bound = f"{sign} {number(target.bound, target.digits)}"
        rows.append((target.what, bound, ranged(values, target.digits), verdict))
    return trial(results) + table(("", "target", "measured", "reached"), rows)


def trial(results: Results) -> str:
    """A warning for results that only show that everything works; otherwise nothing."""
    rounds_run, machine = results.data["settings"]["rounds"], results.data["machine"]
    if rounds_run >= ROUNDS and is_quiet(machine["load_before"], machine["cores"]):
        return ""
    return (
        f"**These results are of a trial: fewer than {ROUNDS} rounds, or other work on the "
        "machine. Do not rely on them.**\n\n"
    )


def throughput(results: Results) -> str:
    """Images per second, and what an image and the server cost."""
    rows = []
    for name, contender in CONTENDERS.items():
        best = peak(results, name)
        if not best:
            continue
        cells = [rounds(results, name, f"saturation {c}", "images_per_s") for c in CLIENTS]
        if contender.kind == "loop":
            # It has no clients.
            cells = [{}] * len(CLIENTS)
        rows.append(
            (
                contender.title,
                *(number(median(cell), 1) for cell in cells),
                ranged(best),
                number(median(ratio(best, peak(results, "loop"))), 2),
                number(median(_with_4_clients(results, name)), 0),
                number(_megabytes(results, name), 0),
                number(median(rounds(results, name, "start", "ready_s")), 1),
            )
        )
    clients = tuple(f"{c} clients" if c > 1 else "1 client" for c in CLIENTS)
    head = ("", *clients, "peak (range)", "÷ loop", "CPU ms", "MB", "start, s")
    return table(head, rows)


def _with_4_clients(results: Results, server: str) -> Rounds:
    """CPU milliseconds per image with 4 clients; of the loop, all it has."""
    return rounds(results, server, "saturation 4", "cpu_ms") or rounds(
        results, server, "saturation", "cpu_ms"
    )


def _megabytes(results: Results, server: str) -> float | None:
    return median(largest(results, server, "pss_mb"))


def latency(results: Results) -> str:
    """Percentiles at shares of the ceiling."""
    rows = []
    for name, contender in CONTENDERS.items():
        cells = [
            tuple(median(rounds(results, name, f"latency {load:.0%}", p)) for p in PERCENTILES)
            for load in LOADS
        ]
        if any(value is not None for cell in cells for value in cell):
            shown = (" / ".join(map(number, cell)) for cell in cells)
            missed = [
                median(ratio(_lost(results, name, load), _sent(results, name, load)))
                for load in LOADS
            ]
            lost = " / ".join(NOTHING if m is None else f"{m:.1%}" for m in missed)
            rows.append((contender.title, *shown, lost))
    loads = tuple(f"{load:.0%}: p50 / p95 / p99, ms" for load in LOADS)
    return table(("", *loads, "not answered with faces"), rows)


PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")


def _sent(results: Results, server: str, load: float) -> Rounds:
    return rounds(results, server, f"latency {load:.0%}", "requests")


def _lost(results: Results, server: str, load: float) -> Rounds:
    answered = rounds(results, server, f"latency {load:.0%}", "answered")
    sent = _sent(results, server, load)
    return {turn: sent[turn] - answered[turn] for turn in sent}


def overload(results: Results) -> str:
    """What remains of a server that gets three times the ceiling."""
    rows = []
    titles = {name: contender.title for name, contender in CONTENDERS.items()}
    titles["ours-short-wait"] = f"sfd serve, `SFD_TARGET_WAIT_S={SHORT_WAIT_S}`"
    # A variant of this service is compared with the same peak.
    peaks = {"ours-short-wait": "ours"}
    for name, title in titles.items():

        def value(key: str, name: str = name) -> Rounds:
            return rounds(results, name, "overload", key)

        if not (sent := value("requests")):
            continue

        def share(key: str, sent: Rounds = sent) -> str:
            return f"{median(ratio(value(key), sent)) or 0:.0%}"

        rows.append(
            (
                title,
                ranged(value("in_time_per_s")),
                number(
                    median(ratio(value("in_time_per_s"), peak(results, peaks.get(name, name)))), 2
                ),
                share("answered"),
                share("refused"),
                share("unanswered"),
                " / ".join(number(median(value(p))) for p in ("p50_ms", "p99_ms")),
                number(median(value("refused_p50_ms"))),
            )
        )
    head = (
        "",
        "within 1 s, images/s",
        "÷ own peak",
        "answered",
        "refused",
        "given up",
        "p50 / p99 of answered, ms",
        "p50 of refused, ms",
    )
    return table(head, rows)


def _p50_of_answered(results: Results, server: str, cell: str) -> float | None:
    """None if most requests were refused, because wrk counts them too."""
    refused, answered = (median(rounds(results, server, cell, n)) for n in ("refused", "answered"))
    if refused is not None and answered is not None and refused > answered:
        return None
    return median(rounds(results, server, cell, "p50_ms"))


def costs(results: Results) -> str:
    """What pictures and batches cost this service."""
    listed = [
        *(("ours", f"size {name}", f"JPEG of {name}", COST_CLIENTS) for name in SIZES),
        *(
            (
                "ours-reduced",
                f"size {name}",
                f"JPEG of {name}, `SFD_REDUCED_DECODING=true`",
                COST_CLIENTS,
            )
            for name in SIZES
        ),
        *(("ours", f"format {name}", f"{name} of 0.3 MP", COST_CLIENTS) for name in FORMATS),
        *(("ours", f"faces {n}", f"{n} face{'s' * (n > 1)}", COST_CLIENTS) for n in FACES),
        ("ours", PORTRAIT, "1 face that fills the picture", COST_CLIENTS),
        ("ours-second-look", PORTRAIT, "the same with a second look, the default", COST_CLIENTS),
        *(
            (
                "ours-batched",
                f"batch {n}",
                f"`SFD_MAX_BATCH={n} SFD_WORKERS=1`",
                BATCH_CLIENTS,
            )
            for n in BATCHES
        ),
    ]
    rows = [
        (
            title,
            str(clients),
            ranged(rounds(results, server, cell, "images_per_s")),
            ranged(rounds(results, server, cell, "cpu_ms"), 0),
            number(_p50_of_answered(results, server, cell)),
            number(median(rounds(results, server, cell, "pss_mb"))),
        )
        for server, cell, title, clients in listed
        if rounds(results, server, cell, "images_per_s")
    ]
    return table(("", "clients", "images/s", "CPU ms per image", "p50, ms", "MB"), rows)


def conditions(results: Results) -> str:
    """The machine, the versions and the settings."""
    titles = {name: contender.title for name, contender in CONTENDERS.items()}
    data, settings = results.data, results.data["settings"]
    machine = data["machine"]
    generator = [
        each["generator_cpu_s"] / each["seconds"] / machine["cores"]
        for each in data["cells"]
        if each.get("generator_cpu_s") is not None
    ]
    late = [each.get("generator_late_p99_ms") or 0.0 for each in data["cells"]]
    rows = [
        ("date", data["started"][:10]),
        ("commit", f"`{data['commit']}`"),
        (
            "machine",
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, "
            f"{machine['system']}",
        ),
        ("load of the machine before", number(machine["load_before"], 2)),
        ("rounds", str(settings["rounds"])),
        ("seconds", f"{settings['seconds']:g} for each number of clients"),
        ("ceiling, images/s", number(data["ceiling"], 1)),
        ("pictures", ", ".join(settings["photographs"])),
        ("file of the peers", settings["peers_graph"]),
        ("load generator", data.get("wrk", NOTHING)),
        (
            "CPU of wrk, share of the machine",
            f"at most {max(generator):.1%}" if generator else NOTHING,
        ),
        ("open-loop requests left late by, p99", f"at most {max(late, default=0):.0f} ms"),
        *(
            (f"versions: {CONTENDERS[name].title}", ", ".join(f"{k} {v}" for k, v in found.items()))
            for name, found in data["versions"].items()
        ),
        *((f"left out: {CONTENDERS[n].title}", why) for n, why in data["left_out"].items()),
        *(
            (
                f"failed: {titles.get(each['server'], each['server'])}",
                each["error"].splitlines()[0],
            )
            for each in data["cells"]
            if "error" in each
        ),
    ]
    return table(("", ""), rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "targets": targets,
    "throughput": throughput,
    "latency": latency,
    "overload": overload,
    "costs": costs,
    "conditions": conditions,
}


def report(results: Results) -> str:
    """All tables, each with its heading."""
    return "\n".join(f"## {name}\n\n{make(results)}" for name, make in TABLES.items())
