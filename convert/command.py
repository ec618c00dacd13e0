"""`sfd convert`: a Caffe model in, a verified ONNX file out; or TensorFlow's weights to Caffe."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from convert.conversion import (
    NOT_ASKED,
    STEPS,
    Options,
    VerificationError,
    convert,
)
from convert.files import write_atomically
from convert.outputs.kinds import Kind
from convert.outputs.preprocessing import ChannelOrder, Preprocessing
from convert.report import Report, Status
from convert.tensorflow.transfer import transfer
from sfd.arguments import number, numbers, size, words
from sfd.errors import UsageError

DESCRIPTION = """\
Turn a Caffe model into one ONNX file of standard operators, prove it against OpenCV's own Caffe
importer, and write it only if both agree.

  heads        images uint8 [batch, height, width, 3] RGB in; boxes and scores of every prior out
  detections   the same in; rows of image, label, score, x1, y1, x2, y2 out, as Caffe's thresholds
               and NMS leave them
  raw          data float32 [batch, channels, height, width] in, as Caffe was fed; every top that
               no layer consumes out, by its own name

With --from-tensorflow there is no network to convert, but weights to start a training from: those
of the frozen graph of an SSD MobileNet-V2 are written as a caffemodel with the layer names of the
SFD MobileNet-V2 family.
"""

NAME_FROM_TENSORFLOW = "MobileNetv2-SSD"
"""The name of the family's networks, for what has no prototxt."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd convert`."""
    model = (
        parser.add_argument("prototxt", type=Path, metavar="DEPLOY.prototxt", help="the network"),
        parser.add_argument("weights", type=Path, metavar="WEIGHTS.caffemodel", help="its weights"),
    )
    parser.add_argument(
        "--from-tensorflow",
        type=Path,
        metavar="FROZEN_GRAPH.pb",
        action=_Replace,
        replaced=model,
        help="instead of both: write the weights of TensorFlow's SSD MobileNet-V2 as a caffemodel",
    )
    parser.add_argument(
        "-o",
        dest="onnx",
        type=Path,
        metavar="OUT.onnx",
        required=True,
        help="the file to write (OUT.caffemodel with --from-tensorflow)",
    )
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="N | HxW",
        help="height and width of the input in pixels (default: the prototxt's)",
    )
    parser.add_argument(
        "--mean",
        type=numbers,
        metavar="104,117,123",
        help="what is subtracted from each channel, in the network's channel order "
        "(default: 104,117,123 for blue, green, red)",
    )
    parser.add_argument(
        "--scale",
        type=number,
        default=1.0,
        metavar="1.0",
        help="what pixels are multiplied by after that (default: 1.0)",
    )
    parser.add_argument(
        "--channel-order",
        type=ChannelOrder,
        choices=list(ChannelOrder),
        metavar="bgr|rgb|gray",
        help="the order the network was trained with; pictures are RGB or gray in any case "
        "(default: bgr, or gray for one channel)",
    )
    parser.add_argument(
        "--output",
        type=Kind,
        choices=list(Kind),
        metavar="heads|detections|raw",
        help="what the file gives out (default: heads for a detector, raw for another network)",
    )
    parser.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="compare the result with OpenCV's before it is written (default: yes)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="REPORT.json", help="write every comparison to this file"
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


def run(arguments: argparse.Namespace) -> None:
    """Convert, write the report, say what came of it; SfdError if nothing did."""
    if arguments.from_tensorflow is not None:
        _from_tensorflow(arguments)
        return
    options = Options(
        output=arguments.output,
        input_size=arguments.input_size,
        channel_order=arguments.channel_order,
        mean=arguments.mean,
        scale=arguments.scale,
        name=arguments.name,
        class_names=arguments.class_names,
        verify=arguments.verify is not False,
    )
    if arguments.report:
        _check_report(arguments.report, (arguments.prototxt, arguments.weights, arguments.onnx))
    # disable=None: only on a terminal.
    with tqdm(total=len(STEPS), disable=None, leave=False, unit="step") as bar:

        def progress(step: str) -> None:
            bar.set_description(step)
            bar.n = STEPS.index(step)
            bar.refresh()

        try:
            report = convert(
                arguments.prototxt, arguments.weights, arguments.onnx, options, progress
            )
        except VerificationError as error:
            _write(error.report, arguments.report)
            raise
    _write(report, arguments.report)
    _summarize(report, arguments.onnx)


def _check_report(report: Path, others: Sequence[Path]) -> None:
    if report.is_dir() or not report.parent.is_dir():
        raise UsageError(f"can't write the report {report}: give a file in a folder")
    if report.resolve() in [other.resolve() for other in others]:
        raise UsageError(f"--report {report} is a source or the ONNX file: give another name")


class _Replace(argparse.Action):
    """An option in place of positional arguments, which it makes optional."""

    def __init__(self, *, replaced: Sequence[argparse.Action], **more: Any) -> None:
        super().__init__(**more)
        self._replaced = replaced

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        # nargs="?" would do it too, but not read `A -o OUT B`: it takes an absent B before -o.
        for action in self._replaced:
            action.required = False


def _from_tensorflow(arguments: argparse.Namespace) -> None:
    senseless = {
        "DEPLOY.prototxt": arguments.prototxt,
        "WEIGHTS.caffemodel": arguments.weights,
        "--input-size": arguments.input_size,
        "--output": arguments.output,
        "--verify or --no-verify": arguments.verify,
        "--report": arguments.report,
        "--class-names": arguments.class_names,
    }
    given = [name for name, value in senseless.items() if value is not None]
    if given:
        raise UsageError(f"leave out {', '.join(given)}: --from-tensorflow writes a caffemodel")
    preprocessing = Preprocessing.of(3, arguments.channel_order, arguments.mean, arguments.scale)
    name = arguments.name or NAME_FROM_TENSORFLOW
    done = transfer(arguments.from_tensorflow, arguments.onnx, preprocessing, name)
    for warning in done.warnings:
        print(f"sfd convert: warning: {warning}", file=sys.stderr)
    follows = "BatchNorm" if done.batch_norm else "biases (BatchNorm was folded)"
    mean = ",".join(f"{value:g}" for value in preprocessing.mean)
    print(
        f"{arguments.onnx}: {done.convolutions} convolutions with {follows}, {len(done.layers)} "
        f"layers, {done.parameters:,} parameters\n"
        f"  for an input of ({preprocessing.channel_order} - {mean}) * {preprocessing.scale:g}"
    )


def _summarize(report: Report, path: Path) -> None:
    verification = report.verification
    for warning in report.warnings:
        print(f"sfd convert: warning: {warning}", file=sys.stderr)
    if verification.status is Status.UNVERIFIED and verification.reason != NOT_ASKED:
        print(f"sfd convert: warning: {path} is {verification}", file=sys.stderr)
    inputs = ", ".join(f"{name} {shape}" for name, shape in report.inputs.items())
    outputs = ", ".join(f"{name} {shape}" for name, shape in report.outputs.items())
    print(
        f"{path}: {report.kind} of {report.name}, {report.layers} layers as {report.nodes} nodes, "
        f"{report.parameters:,} parameters; "
        f"{verification.status} ({len(verification.comparisons)} comparisons)\n"
        f"  {inputs} -> {outputs}"
    )


def _write(report: Report, path: Path | None) -> None:
    if path is not None:
        write_atomically(path, report.to_json().encode())
