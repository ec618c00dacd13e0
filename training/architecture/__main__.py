"""`python -m training.architecture` writes the four prototxts of an architecture of the family."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sfd.arguments import size
from sfd.errors import SfdError
from training.architecture import files, variation
from training.architecture.family import PUBLISHED


def main(argv: Sequence[str] | None = None) -> int:
    """Write deploy, train, test and solver prototxt; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.architecture",
        description="Write the deploy, train, test and solver prototxt of an SFD MobileNet-V2 "
        "detector. For what the options can't say, see training/architecture/family.py.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write the files into")
    parser.add_argument(
        "--architecture", choices=PUBLISHED, default="mod2", help="default: %(default)s"
    )
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="N|HxW",
        help="height and width of the input (default: the architecture's own)",
    )
    parser.add_argument(
        "--expansion",
        type=int,
        metavar="N",
        help="of every block: channels in its middle, as a multiple of its input's",
    )
    parser.add_argument(
        "--strides",
        type=_strides,
        metavar="N,N,...",
        help="1 or 2 for each block conv_1, conv_2, …; the steps of the priors follow",
    )
    parser.add_argument(
        "--width-multiplier",
        type=float,
        metavar="X",
        help="all widths times X, in multiples of 8",
    )
    parser.add_argument(
        "--name",
        help="name of the model, for the solver's snapshots (default: the folder's)",
    )
    arguments = parser.parse_args(argv)
    architecture = PUBLISHED[arguments.architecture]
    if arguments.input_size:
        height, width = arguments.input_size
        architecture = replace(architecture, height=height, width=width)
    try:
        if arguments.expansion is not None:
            architecture = variation.expanded(architecture, arguments.expansion)
        if arguments.strides is not None:
            architecture = variation.strided(architecture, arguments.strides)
        if arguments.width_multiplier is not None:
            architecture = variation.widened(architecture, arguments.width_multiplier)
        for path in files.write(
            architecture, arguments.name or arguments.out.resolve().name, arguments.out
        ):
            print(path)
    except (SfdError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _strides(text: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers like 2,1,1") from None


if __name__ == "__main__":
    sys.exit(main())
