"""`sfd bench servers`: sets up, runs and reports the comparison of whole servers."""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.servers import environments, publishing, quiet, saturation, tables
from benchmarks.servers.comparison import PARTS, Comparison, Plan
from benchmarks.servers.contenders import CONTENDERS, ENVIRONMENTS, Graph
from benchmarks.servers.results import Results
from detection.agreement import PHOTOGRAPH
from detection.cpu import available_cpus
from detection.settings import DEFAULT_MODEL
from sfd.arguments import new_file, nonnegative, one_of, positive, words
from sfd.distribution import CHECKOUT
from sfd.errors import SfdError, UsageError
from store.model import load
from store.places import locate

DESCRIPTION = """Compare this service with other servers of the same network, on this machine.
docs/performance.md explains what is measured."""
OUT = ENVIRONMENTS / "results.json"
RESULTS_HELP = "what `run` has written (default: as for `run`)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands of `sfd bench servers`."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )

    _choose_servers(command("setup", "make the environments of the servers"))
    run = command("run", "measure the servers")
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
    run.add_argument(
        "--out",
        type=new_file,
        default=OUT,
        metavar="FILE",
        help="default: build/benchmarks/results.json of the checkout",
    )
    run.add_argument(
        "--resume", action="store_true", help="continue an interrupted run of the same settings"
    )
    report = command("report", "print the tables of a run as Markdown")
    report.add_argument(
        "results", type=Path, nargs="?", default=OUT, metavar="FILE", help=RESULTS_HELP
    )
    publish = command(
        "publish", "put a run and its pictures into docs/performance/; then run docs/generate.py"
    )
    publish.add_argument(
        "results", type=Path, nargs="?", default=OUT, metavar="FILE", help=RESULTS_HELP
    )


def _choose_servers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--servers",
        type=words,
        default=tuple(CONTENDERS),
        metavar="A,B",
        help=f"which of {', '.join(CONTENDERS)} (default: all)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run a subcommand. Raises SfdError if it fails."""
    try:
        _run(arguments)
    except KeyboardInterrupt:
        if arguments.action != "run":
            raise
        raise SfdError("interrupted; `run --resume` continues") from None
    except BrokenPipeError:
        raise
    except (OSError, subprocess.SubprocessError) as error:
        raise SfdError(str(error)) from error


def _run(given: argparse.Namespace) -> None:
    if sys.platform != "linux" or CHECKOUT is None:
        raise SfdError("runs only on Linux, in a checkout of sfd")
    if given.action == "report":
        print(tables.report(Results.read(given.results)))
        return
    if given.action == "publish":
        publishing.publish(Results.read(given.results))
        return
    if unknown := set(given.servers) - set(CONTENDERS):
        raise UsageError(f"no server {', '.join(sorted(unknown))}; {', '.join(CONTENDERS)} exist")
    if given.action == "setup":
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
