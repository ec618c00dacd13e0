"""`sfd convert`: a Caffe model in, a verified ONNX file out."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from convert.arguments import add_preprocessing
from convert.conversion import STEPS, VerificationError, convert_file, explain_file
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.report import Report
from convert.storage import data_path
from sfd.arguments import new_file, one_of, size, words
from sfd.errors import UsageError
from sfd.files import destination, write_atomically
from sfd.progress import Steps
from sfd.terminal import say

DESCRIPTION = """\
Convert a Caffe model to one ONNX file of standard operators. The file is compared with OpenCV's own
Caffe importer, if OpenCV 4 is installed, and written only if both agree.

  heads        images uint8 [batch, height, width, 3] RGB in; boxes and scores of every prior out
  detections   the same in; rows of image, label, score, x1, y1, x2, y2 out, after the prototxt's
               threshold and NMS
  raw          the network's own inputs, such as data float32 [batch, channels, height, width], in;
               every top that no layer reads out, by its own name

With --explain nothing is written: the command prints what becomes of each layer, even if the
network can't be converted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd convert`."""
    parser.add_argument("prototxt", type=Path, metavar="DEPLOY.prototxt", help="the network")
    weights = parser.add_argument(
        "weights",
        type=Path,
        metavar="WEIGHTS.caffemodel",
        help="its weights; not needed with --simulate-weights or --explain",
    )
    # nargs="?" can't read `A -o OUT B`: it takes B as absent when it meets -o.
    weights.required = False
    parser.add_argument(
        "-o",
        dest="onnx",
        type=new_file,
        metavar="OUT.onnx",
        help="the file to write; required unless --explain is given",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print each layer with its shape, parameters and multiply-accumulates, and what "
        "becomes of it",
    )
    parser.add_argument(
        "--simulate-weights",
        type=_seed,
        metavar="SEED",
        help="use random weights instead of WEIGHTS.caffemodel; "
        "the same seed gives the same weights",
    )
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="N | HxW",
        help="height and width of the input in pixels (default: the prototxt's)",
    )
    parser.add_argument(
        "--fixed-batch",
        action="store_true",
        help="take one image at a time, for networks that mix the images of a batch; with --output "
        "raw only (default: any number of images)",
    )
    parser.add_argument(
        "--stage",
        type=words,
        action="extend",
        default=[],
        metavar="A,B",
        help="include the layers of these stages, such as deploy (`include { stage: ... }`); can "
        "be repeated",
    )
    parser.add_argument(
        "--level",
        type=int,
        metavar="N",
        help="the level for the layers' min_level and max_level (default: the prototxt's, or 0)",
    )
    add_preprocessing(parser)
    parser.add_argument(
        "--output",
        type=one_of(Kind),
        choices=list(Kind),
        metavar="heads|detections|raw",
        help="outputs of the file (default: heads for a detector, raw for other networks)",
    )
    parser.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="compare the result with OpenCV before it is written (default: yes)",
    )
    parser.add_argument(
        "--prune",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="remove channels that are always zero, or that nothing reads, which gives the same "
        "results faster, up to rounding (default: yes)",
    )
    parser.add_argument(
        "--merge",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="join convolutions that read the same blob through the same window, which gives the "
        "same results faster (default: yes)",
    )
    parser.add_argument(
        "--widen",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="compute convolutions with few outputs as a wide 1x1 convolution and a sum, which "
        "gives the same results faster, up to rounding (default: yes)",
    )
    parser.add_argument(
        "--partition",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="compute wide values between convolutions in parts, which a processor's caches hold "
        "better; gives the same results, up to rounding, faster on a CPU without AVX-512 "
        "or with little cache (default: no)",
    )
    parser.add_argument(
        "--report",
        type=new_file,
        metavar="REPORT.json",
        help="write every comparison to this file",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="the model's name in the metadata (default: the prototxt's)"
    )
    parser.add_argument(
        "--class-names",
        type=words,
        metavar="A,B",
        help="names of the classes without the background (default: face, if there is only one)",
    )
    parser.add_argument("--from-tensorflow", nargs="?", action=_Moved, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> None:
    """Convert, write the report, and print a summary. Raises SfdError for a failure."""
    options = Options(
        output=arguments.output,
        input_size=arguments.input_size,
        channel_order=arguments.channel_order,
        mean=arguments.mean,
        scale=arguments.scale,
        name=arguments.name,
        class_names=arguments.class_names,
        verify=arguments.verify is not False,
        prune=arguments.prune is not False,
        merge=arguments.merge is not False,
        widen=arguments.widen is not False,
        partition=arguments.partition is True,
        fixed_batch=arguments.fixed_batch,
        stages=tuple(arguments.stage),
        level=arguments.level,
        simulated_weights=arguments.simulate_weights,
    )
    if arguments.explain:
        if arguments.onnx or arguments.report:
            raise UsageError("--explain writes no file: leave out -o and --report")
        say(explain_file(arguments.prototxt, arguments.weights, options))
        return
    if arguments.onnx is None:
        raise UsageError("the file to write is missing: give -o OUT.onnx, or --explain")
    sources = [path for path in (arguments.prototxt, arguments.weights) if path is not None]
    if arguments.report:
        onnx = Path(os.path.realpath(arguments.onnx))
        _check_report(arguments.report, (*sources, onnx, data_path(onnx)))
    with Steps(STEPS) as progress:
        try:
            report = convert_file(
                arguments.prototxt, arguments.weights, arguments.onnx, options, progress
            )
        except VerificationError as error:
            _write(error.report, arguments.report)
            raise
    _write(report, arguments.report)
    _summarize(report, arguments.onnx)


def _seed(value: str) -> int:
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number of at least 0")
    return int(value)


class _Moved(argparse.Action):
    """An old option that is now a separate command."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        parser.exit(
            2,
            f"{parser.prog}: {option_string} was replaced by a command: "
            "sfd import-tensorflow FROZEN_GRAPH.pb -o OUT.caffemodel\n",
        )


def _check_report(report: Path, others: Sequence[Path]) -> None:
    if os.path.isdir(report) or not os.path.isdir(report.parent):
        raise UsageError(f"can't write the report {report}: give a file in an existing folder")
    if os.path.realpath(report) in map(os.path.realpath, others):
        raise UsageError(f"--report {report} is a source or the ONNX file: give another name")
    destination(report)


def _summarize(report: Report, path: Path) -> None:
    verification = report.verification
    for advice in report.advice(str(path)):
        say(f"sfd convert: warning: {advice}", error=True)
    inputs = ", ".join(f"{name} {shape}" for name, shape in report.inputs.items())
    at = f" at {verification.input_size}" if verification.input_size else ""
    outputs = ", ".join(f"{name} {shape}" for name, shape in report.outputs.items())
    say(
        f"{path}: {report.kind} of {report.name}, {report.layers} layers as {report.nodes} nodes, "
        f"{report.parameters:,} parameters; "
        f"{verification.status}{at} ({len(verification.comparisons)} comparisons)\n"
        f"  {inputs} -> {outputs}"
    )


def _write(report: Report, path: Path | None) -> None:
    if path is not None:
        write_atomically(path, report.to_json().encode())
