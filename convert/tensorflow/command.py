"""`sfd import-tensorflow`: the weights of TensorFlow's SSD MobileNet-V2 as a caffemodel."""

import argparse
from pathlib import Path

from convert.outputs.preprocessing import ChannelOrder, Preprocessing
from convert.tensorflow.transfer import transfer
from sfd.arguments import new_file, number, numbers, one_of
from sfd.terminal import say

DESCRIPTION = """\
Read the frozen graph of an SSD MobileNet-V2 and write its weights as a caffemodel, with the layer
names of the SFD MobileNet-V2 family. Training can start from that file. TensorFlow is not needed.
"""

ORDERS = (ChannelOrder.BGR, ChannelOrder.RGB)
FAMILY = "MobileNetv2-SSD"
"""The name of the family's networks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd import-tensorflow`."""
    parser.add_argument(
        "graph", type=Path, metavar="FROZEN_GRAPH.pb", help="the frozen TensorFlow graph"
    )
    parser.add_argument(
        "-o",
        dest="caffemodel",
        type=new_file,
        metavar="OUT.caffemodel",
        required=True,
        help="the file to write",
    )
    parser.add_argument(
        "--mean",
        type=numbers,
        metavar="104,117,123",
        help="mean that the Caffe network subtracts from each channel, in its channel order "
        "(default: 104,117,123 for blue, green, red)",
    )
    parser.add_argument(
        "--scale",
        type=number,
        default=1.0,
        metavar="1.0",
        help="factor that pixels are multiplied by after the mean is subtracted (default: 1.0)",
    )
    parser.add_argument(
        "--channel-order",
        type=one_of(ORDERS),
        metavar="bgr|rgb",
        help="the channel order of the Caffe network (default: bgr)",
    )
    parser.add_argument(
        "--name", default=FAMILY, metavar="NAME", help=f"the network's name (default: {FAMILY})"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the caffemodel and print a summary. Raises SfdError if that fails."""
    preprocessing = Preprocessing.of(3, arguments.channel_order, arguments.mean, arguments.scale)
    done = transfer(arguments.graph, arguments.caffemodel, preprocessing, arguments.name)
    for warning in done.warnings:
        say(f"sfd import-tensorflow: warning: {warning}", error=True)
    follows = "BatchNorm" if done.batch_norm else "biases (BatchNorm was folded)"
    mean = ",".join(f"{value:g}" for value in preprocessing.mean)
    say(
        f"{arguments.caffemodel}: {done.convolutions} convolutions with {follows}, "
        f"{len(done.layers)} layers, {done.parameters:,} parameters\n"
        f"  for an input of ({preprocessing.channel_order} - {mean}) * {preprocessing.scale:g}"
    )
