"""`python -m benchmarks.precisions`: a model's speed in every precision, in one interleaved run.

It needs an environment with onnxruntime-openvino, which also has the CPU provider. Combinations
that the provider, the processor or the model lacks are left out, each with its reason.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.contest import Contestant, measure, table
from detection.cpu import available_cpus
from detection.errors import StartError
from detection.precision import Precision
from detection.providers import PROVIDERS, ProviderName
from detection.session import open_session
from detection.settings import DEFAULT_MODEL
from sfd.arguments import positive
from sfd.errors import SfdError
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


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table; returns the exit code."""
    parser = argparse.ArgumentParser(description="A model's speed in every precision.")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME")
    parser.add_argument("--store", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=positive, default=30, metavar="N")
    parser.add_argument("--threads", type=positive, default=available_cpus(), metavar="N")
    given = parser.parse_args(arguments)
    try:
        peers, reasons = contestants(load(locate(given.model, given.store)), given.threads)
    except SfdError as error:
        print(f"precisions: {error}", file=sys.stderr)
        return error.exit_code
    for reason in reasons:
        print(f"left out: {reason}", file=sys.stderr)
    print(table(measure(peers, given.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
