"""`python -m benchmarks.servers`: sets up, runs and reports the comparison of whole servers."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.ending import exit_code
from benchmarks.servers import environments, publishing, quiet, saturation, tables
from benchmarks.servers.comparison import PARTS, Comparison, Plan
from benchmarks.servers.contenders import CONTENDERS, ENVIRONMENTS, Graph
from benchmarks.servers.results import Results
from detection.agreement import PHOTOGRAPH
from detection.cpu import available_cpus
from detection.settings import DEFAULT_MODEL
from sfd.arguments import nonnegative, one_of, positive, words
from sfd.distribution import CHECKOUT
from sfd.errors import SfdError, UsageError
from store.model import load
from store.places import locate

DESCRIPTION = """Compare this service with other servers of the same network, on this machine.
docs/performance.md explains what is measured."""
OUT = ENVIRONMENTS / "results.json"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=DESCRIPTION)
    commands = made.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="make the environments of the servers")
    _choose_servers(setup)
    run = commands.add_parser("run", help="measure")
    _choose_servers(run)
    run.add_argument("--rounds", type=positive, default=3, metavar="N", help="default: %(default)s")
    run.add_argument(
        "--seconds",
        type=nonnegative,
        default=4.0,
        metavar="S",
        help="of each measurement; those of latency last twice, and of overload four times as long "
        "(default: %(default)s)",
    )
    run.add_argument(
        "--only",
        type=words,
        default=PARTS,
        metavar="A,B",
        help=f"which of {', '.join(PARTS)} (default: all)",
    )
    run.add_argument(
        "--graph",
        type=one_of(Graph),
        default=Graph.UNMERGED,
        metavar="|".join(Graph),
        help="the ONNX file that peers get: of `sfd convert --no-prune --no-merge --no-widen`, or "
        "ours (default: %(default)s)",
    )
    run.add_argument(
        "--photo",
        type=Path,
        nargs="+",
        default=[PHOTOGRAPH],
        metavar="FILE",
        help="what is posted, in turn (default: the photograph of sfd)",
    )
    run.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="default: %(default)s")
    run.add_argument("--store", type=Path, metavar="DIR", help="the model store")
    run.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="where the servers listen, one after the other (default: any free one)",
    )
    run.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: %(default)s")
    run.add_argument(
        "--resume", action="store_true", help="continue an interrupted run of the same settings"
    )
    report = commands.add_parser("report", help="print the tables of a run as Markdown")
    report.add_argument("results", type=Path, nargs="?", default=OUT, metavar="FILE")
    publish = commands.add_parser(
        "publish",
        help="put a run and its pictures into docs/performance/; then run docs/generate.py",
    )
    publish.add_argument("results", type=Path, nargs="?", default=OUT, metavar="FILE")
    return made


def _choose_servers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--servers",
        type=words,
        default=tuple(CONTENDERS),
        metavar="A,B",
        help=f"which of {', '.join(CONTENDERS)} (default: all)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = parser().parse_args(arguments)
    try:
        return exit_code("benchmarks", lambda: _run(given))
    except KeyboardInterrupt:
        rest = "; `run --resume` goes on" if given.command == "run" else ""
        print(f"benchmarks: interrupted{rest}", file=sys.stderr)
        return 130


def _run(given: argparse.Namespace) -> None:
    if sys.platform != "linux" or CHECKOUT is None:
        raise SfdError("runs only on Linux, in a checkout of sfd")
    if given.command == "report":
        print(tables.report(Results.read(given.results)))
        return
    if given.command == "publish":
        publishing.publish(Results.read(given.results))
        return
    if unknown := set(given.servers) - set(CONTENDERS):
        raise UsageError(f"no server {', '.join(sorted(unknown))}; {', '.join(CONTENDERS)} exist")
    if given.command == "setup":
        environments.make(CONTENDERS[name] for name in given.servers)
        return
    if unknown := set(given.only) - set(PARTS):
        raise UsageError(f"no part {', '.join(sorted(unknown))}; {', '.join(PARTS)} exist")
    if not 0 <= given.port <= 65535:
        raise UsageError("--port takes a number from 0 to 65535")
    if given.seconds < 1:
        raise UsageError("--seconds takes a number of at least 1")
    if missing := [str(path) for path in given.photo if not path.is_file()]:
        raise UsageError(f"no file {', '.join(missing)}")
    plan = Plan(
        tuple(name for name in CONTENDERS if name in given.servers),
        tuple(part for part in PARTS if part in given.only),
        given.rounds,
        given.seconds,
        tuple(path.resolve() for path in given.photo),
        given.graph,
        given.port,
    )
    wrk = saturation.check() if plan.needs_wrk else None
    model = load(locate(given.model, given.store))
    # Shown at once, also in a file.
    say = partial(print, flush=True)
    results = Results.create(given.out, plan.settings(model), resume=given.resume)
    if wrk is not None:
        results.data["wrk"] = wrk
    if plan.rounds >= tables.ROUNDS:
        quiet.wait(available_cpus(), say)
    results.note_load(quiet.load())
    Comparison(plan, model, results, say).run()
    print(f"\n{tables.report(results)}\nwritten to {given.out}")
