"""`python -m benchmarks.precisions`: a model's speed in every precision, in one interleaved run.

It needs an environment with onnxruntime-openvino, which also has the CPU provider. Combinations
that the provider, the processor or the model lacks are left out, each with its reason.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.contest import Contestant, Timing, measure, table
from benchmarks.ending import exit_code
from detection.cpu import available_cpus
from detection.errors import StartError
from detection.precision import Precision, processor_name
from detection.providers import PROVIDERS, ProviderName
from detection.session import open_session
from detection.settings import DEFAULT_MODEL
from sfd.arguments import new_file, positive, threads
from sfd.errors import UsageError
from sfd.files import write_atomically
from store.model import Model, load
from store.places import locate


def contestants(model: Model, threads: int) -> tuple[list[Contestant], list[str]]:
    """Each provider of the processor in each precision, float32 on the CPU first.

    Also returns why the others don't run.
    """
    found: list[Contestant] = []
    reasons: list[str] = []
    for provider, row in PROVIDERS.items():
        for precision in Precision:
            if not row.on_cpu or precision not in row.precisions:
                continue
            try:
                found.append(_contestant(model, provider, precision, threads))
            except StartError as error:
                reasons.append(str(error))
    return found, reasons


def _contestant(
    model: Model, provider: ProviderName, precision: Precision, threads: int
) -> Contestant:
    session = open_session(model, provider, threads, 1, precision=precision)
    image = [session.blank()]
    return Contestant(f"{provider}, {session.precision}", 1, lambda: session.run(image))


def accuracies(given: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Average precision by subset for each name, from pairs of a name and a results.json.

    Raises UsageError for a name that was not measured, or a file that `sfd evaluate` did not write.
    """
    found = {}
    for name, file in given:
        if name not in names:
            raise UsageError(f"--evaluation {name}: was not measured; {'; '.join(names)} were")
        try:
            subsets = json.loads(Path(file).read_text("utf-8"))["subsets"]
            found[name] = {key: value["average_precision"] for key, value in subsets.items()}
        except OSError as error:
            raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"{file}: is not a results.json of `sfd evaluate`") from None
    return found


def report(
    model: str, threads: int, timings: Sequence[Timing], accuracy: dict[str, dict[str, float]]
) -> str:
    """The measurements as JSON."""
    rows = [{**asdict(each), "accuracy": accuracy.get(each.name, {})} for each in timings]
    head = {"model": model, "processor": processor_name(), "threads": threads, "rows": rows}
    return json.dumps(head, indent=1) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table; returns the exit code."""
    parser = argparse.ArgumentParser(description="A model's speed in every precision.")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME")
    parser.add_argument("--store", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=positive, default=30, metavar="N")
    parser.add_argument("--threads", type=threads, default=available_cpus(), metavar="N")
    parser.add_argument(
        "--out", type=new_file, metavar="FILE", help="also write JSON to a new file"
    )
    parser.add_argument(
        "--evaluation",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "results.json"),
        help="add the accuracy of a line, such as 'openvino, bfloat16', from what `sfd evaluate` "
        "wrote; can be repeated",
    )
    given = parser.parse_args(arguments)
    return exit_code("precisions", lambda: _run(given))


def _run(given: argparse.Namespace) -> None:
    if given.out is not None and given.out.exists():
        raise UsageError(f"{given.out} exists; name another file with --out")
    peers, reasons = contestants(load(locate(given.model, given.store)), given.threads)
    for reason in reasons:
        print(f"left out: {reason}", file=sys.stderr)
    accuracy = accuracies(given.evaluation, [each.name for each in peers])
    timings = measure(peers, given.rounds)
    print(table(timings))
    if given.out is not None:
        text = report(given.model, given.threads, timings, accuracy)
        write_atomically(given.out, text.encode())


if __name__ == "__main__":
    sys.exit(main())
