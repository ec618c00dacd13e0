"""`python -m training.architecture` writes the four prototxts of an architecture of the family."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sfd.errors import SfdError
from training.architecture import files
from training.architecture.family import PUBLISHED


def main(argv: Sequence[str] | None = None) -> int:
    """Write deploy, train, test and solver prototxt; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.architecture",
        description="Write the deploy, train, test and solver prototxt of an SFD MobileNet-V2 "
        "detector. Widths, strides and expansion of your own: see training/architecture/family.py.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write the files into")
    parser.add_argument(
        "--architecture", choices=PUBLISHED, default="mod2", help="default: %(default)s"
    )
    parser.add_argument(
        "--input-size",
        type=_size,
        metavar="N|HxW",
        help="height and width of the input (default: the architecture's own)",
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
        for path in files.write(
            architecture, arguments.name or arguments.out.resolve().name, arguments.out
        ):
            print(path)
    except (SfdError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor HEIGHTxWIDTH in pixels")
    return int(found[1]), int(found[2] or found[1])


if __name__ == "__main__":
    sys.exit(main())
