"""Command-line arguments of several commands that read Caffe networks."""

import argparse

from convert.outputs.preprocessing import ChannelOrder
from sfd.arguments import number, numbers, one_of


def add_preprocessing(parser: argparse.ArgumentParser) -> None:
    """Declare --mean, --scale and --channel-order, the arguments of `Preprocessing.of`."""
    parser.add_argument(
        "--mean",
        type=numbers,
        metavar="104,117,123",
        help="mean to subtract from each channel, in the network's channel order "
        "(default: 104,117,123 for blue, green, red)",
    )
    parser.add_argument(
        "--scale",
        type=number,
        default=1.0,
        metavar="1.0",
        help="factor that pixels are multiplied by after the mean is subtracted "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--channel-order",
        type=one_of(ChannelOrder),
        choices=list(ChannelOrder),
        metavar="bgr|rgb|gray",
        help="channel order that the network was trained with; the converted file always takes RGB "
        "or gray images (default: bgr, or gray for one channel)",
    )
