"""The arguments of `sfd detect --bulk`."""

import argparse
from argparse import ArgumentTypeError
from dataclasses import dataclass

from sfd.arguments import positive
from sfd.errors import UsageError

SHARD_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """The shards number - 1, number - 1 + of, and so on."""

    number: int
    of: int


def part(text: str) -> Part:
    """`3/16`: the third of sixteen parts."""
    try:
        number, of = map(int, text.split("/"))
    except ValueError:
        number, of = 0, 0
    if not 1 <= number <= of:
        raise ArgumentTypeError(f"{text!r} is not a part such as 3/16")
    return Part(number, of)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    group = parser.add_argument_group(
        "many pictures",
        "Write the faces of any number of pictures to Parquet files (docs/bulk.md). If the job is\n"
        "stopped, the same command continues where it stopped. A picture that fails is a row with\n"
        "its error, and the exit code is 0.",
    )
    group.add_argument(
        "--bulk",
        metavar="SOURCE",
        help="instead of IMAGE: a folder of pictures, a text file with a path or URL in each line, "
        "or Parquet files (with --column); local, or any URL that fsspec reads",
    )
    group.add_argument(
        "--out",
        metavar="DIR",
        help="with --bulk: the folder for the results, new or of the same job; local, or a URL",
    )
    group.add_argument(
        "--column",
        metavar="NAME",
        help="with --bulk: SOURCE is a Parquet file, a pattern such as 'a/*.parquet', or a folder "
        "of them, and this column has the pictures' bytes, paths or URLs",
    )
    group.add_argument(
        "--key",
        metavar="NAME",
        help="with a column of bytes: the column that names each picture (default: FILE#ROW)",
    )
    group.add_argument(
        "--shard-size",
        type=positive,
        metavar="N",
        help=f"with --bulk: pictures in each Parquet file (default: {SHARD_SIZE})",
    )
    group.add_argument(
        "--part",
        type=part,
        metavar="I/N",
        help="with --bulk: do only the I-th of N parts of the job, so that N machines can share it",
    )
    group.add_argument(
        "--keep-listing",
        action="store_true",
        help="with --bulk: continue with the pictures listed at the first start, without looking "
        "at SOURCE again",
    )
    group.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="with --bulk: run on the Ray cluster of this address (default: the one of "
        "$RAY_ADDRESS or of this machine, else a new one on this machine)",
    )
    group.add_argument(
        "--ray-cpus",
        type=positive,
        metavar="N",
        help="with --ray: CPUs of each actor (default: 4, or fewer if a node has fewer)",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for arguments that do not go together."""
    if arguments.bulk is None:
        for option in ("out", "column", "key", "shard_size", "part", "keep_listing", "ray",
                       "ray_cpus"):  # fmt: skip
            if getattr(arguments, option) not in (None, False):
                raise UsageError(f"{_spelled(option)} needs --bulk SOURCE")
        if not arguments.images:
            raise UsageError("name an IMAGE, or --bulk SOURCE")
        return
    if not arguments.bulk:
        raise UsageError("--bulk: the name of the source is empty")
    if arguments.images:
        raise UsageError(
            f"--bulk {arguments.bulk} takes no further images, but there is {arguments.images[0]}"
        )
    for option in ("draw", "style", "force", "json"):
        if getattr(arguments, option) not in (None, False):
            raise UsageError(f"{_spelled(option)} does not go with --bulk")
    if not arguments.out:
        raise UsageError("--bulk needs --out DIR, the folder for the results")
    if arguments.key is not None and arguments.column is None:
        raise UsageError("--key needs --column NAME")
    if arguments.ray_cpus is not None and arguments.ray is None:
        raise UsageError("--ray-cpus needs --ray")


def _spelled(option: str) -> str:
    return "--" + option.replace("_", "-")
