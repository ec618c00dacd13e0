"""`sfd design`: write the prototxts of an SFD MobileNet-V2 detector."""

import argparse
from dataclasses import replace
from pathlib import Path

from sfd.arguments import number, size
from sfd.terminal import say
from training.architecture import files, variation
from training.architecture.family import PUBLISHED

DESCRIPTION = """\
Write the deploy, train, test and solver prototxt of an SFD MobileNet-V2 detector.

It is a published architecture, as published or with another input size, expansion, strides or
width. Further changes, such as other blocks or heads, are made in training/architecture/family.py.

  sfd design --output my-model --input-size 640
  sfd train my-model/solver.prototxt ...
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd design`."""
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder to write the files into"
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite files that have other contents"
    )
    parser.add_argument(
        "--architecture",
        choices=PUBLISHED,
        default="mod2",
        metavar="NAME",
        help=f"{', '.join(PUBLISHED)} (default: %(default)s)",
    )
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="N|HxW",
        help="height and width of the input in pixels (default: the architecture's own)",
    )
    parser.add_argument(
        "--expansion",
        type=int,
        metavar="N",
        help="expansion of every block: its inner channels as a multiple of its input channels "
        "(default: the architecture's own)",
    )
    parser.add_argument(
        "--strides",
        type=_strides,
        metavar="N,N,...",
        help="1 or 2 for each block conv_1, conv_2, …; the steps of the priors follow (default: "
        "the architecture's own)",
    )
    parser.add_argument(
        "--width-multiplier",
        type=number,
        metavar="X",
        help="multiply all widths by X and round them to multiples of 8 (default: 1)",
    )
    parser.add_argument(
        "--name",
        help="name of the model, used for the solver's snapshots (default: name of the folder)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the files and print their paths."""
    architecture = PUBLISHED[arguments.architecture]
    if arguments.input_size:
        height, width = arguments.input_size
        architecture = replace(architecture, height=height, width=width)
    if arguments.expansion is not None:
        architecture = variation.expanded(architecture, arguments.expansion)
    if arguments.strides is not None:
        architecture = variation.strided(architecture, arguments.strides)
    if arguments.width_multiplier is not None:
        architecture = variation.widened(architecture, arguments.width_multiplier)
    name = arguments.name or arguments.output.resolve().name
    for path in files.write(architecture, name, arguments.output, force=arguments.force):
        say(path)


def _strides(text: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers like 2,1,1") from None
