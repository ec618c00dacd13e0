"""`sfd bench`: measures a model's speed in onnxruntime and in OpenCV on this machine."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from benchmarks.contest import measure, table
from benchmarks.runtimes import onnx_contestants, opencv_contestant
from sfd.arguments import threads
from sfd.cli import add_subcommands
from sfd.errors import UsageError
from store.model import check, load
from store.places import locate

DESCRIPTION = """Compare inference speed in one run: the converted model in onnxruntime at
several batch sizes, and the caffemodel itself in OpenCV 4. Prints the median milliseconds per
image, and the median ratio to the first line. Needs the extra `verify`.
`sfd bench servers` compares whole servers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd bench`."""
    add_subcommands("bench", parser.add_subparsers(metavar="ACTION"))
    parser.add_argument(
        "--model", default="sfd-640-mobilenetv2-mod2", metavar="NAME", help="default: %(default)s"
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="the model store (default: as for `sfd models`)",
    )
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--threads", type=threads, default=2, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--batch",
        type=int,
        nargs="+",
        default=[1, 8],
        metavar="N",
        help="batch sizes to measure (default: 1 8)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> None:
    """Measure and print the results."""
    if min(arguments.rounds, *arguments.batch) < 1:
        raise UsageError("--rounds and --batch take whole numbers of at least 1")
    model = load(locate(arguments.model, arguments.store))
    check(model)
    contestants = [
        opencv_contestant(model, arguments.threads),
        *onnx_contestants(model, arguments.batch, arguments.threads),
    ]
    with tqdm(total=arguments.rounds, unit="round", disable=None, leave=False) as bar:
        timings = measure(contestants, arguments.rounds, bar.update)
    print(json.dumps([asdict(t) for t in timings]) if arguments.json else table(timings))
