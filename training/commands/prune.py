"""`sfd prune`: zeros for the channels that no training picture activates."""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from convert.arguments import add_preprocessing
from convert.caffe import weights
from convert.caffe.network import CaffeError
from convert.files import check_output, check_source
from detection.cpu import available_cpus
from sfd.arguments import new_file, positive, share, threads
from sfd.errors import UsageError
from sfd.terminal import counted, say
from training.data.dataset import check_files, read, split
from training.data.images import opened, upright
from training.pruning import Activity, silenced

DESCRIPTION = """\
Find the channels of a detector that no picture of the training data activates, and set their
weights to zero. The converter then leaves these channels out, so the network is faster. Its results
change only for pictures that activate one of them. Measure the new weights with `sfd evaluate`.

  sfd prune DEPLOY.prototxt WEIGHTS.caffemodel --annotations FILE -o PRUNED.caffemodel

Each picture is looked at three times: as a whole, a part of it enlarged, and small.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd prune`."""
    parser.add_argument("prototxt", type=Path, metavar="DEPLOY.prototxt")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.caffemodel")
    parser.add_argument(
        "--annotations",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="the list of images, as for `sfd train`; give it again for several lists",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="the folder that image names start from (default: the folder of each list)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=new_file,
        required=True,
        metavar="PRUNED.caffemodel",
        help="a new file",
    )
    parser.add_argument(
        "--held-out",
        type=share,
        default=0.077,
        metavar="SHARE",
        help="share of the images that is not looked at, chosen by a hash of their names "
        "(default: %(default)s)",
    )
    add_preprocessing(parser)
    parser.add_argument(
        "--seed", type=positive, default=1, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--threads", type=threads, metavar="N", help="number of threads (default: all cores)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Look at the pictures, then write the weights. Raises SfdError."""
    sources = (arguments.prototxt, arguments.weights)
    for source in sources:
        check_source(source)
    check_output(arguments.output, "caffemodel", sources)
    if arguments.output.exists():
        raise UsageError(f"{arguments.output} exists: remove it, or give the name of a new file")
    listed = [
        split(read(each, arguments.images), arguments.held_out)[0] for each in arguments.annotations
    ]
    pictures = [each for part in listed for each in part]
    if not pictures:
        raise UsageError("no picture is left to look at: lower --held-out, or check --annotations")
    check_files(pictures)
    old = weights.read_all(arguments.weights)
    problems = [problem for layer in old.layers for problem in layer.problems]
    if problems:
        raise CaffeError(str(arguments.weights), problems)
    activity = Activity(
        *sources,
        threads=arguments.threads or available_cpus(),
        channel_order=arguments.channel_order,
        mean=arguments.mean,
        scale=arguments.scale,
    )
    random = np.random.default_rng(arguments.seed)
    for each in tqdm(pictures, unit="picture", disable=None, leave=False):
        with opened(each.path) as image:
            activity.look(upright(image), random)
    dead = activity.dead()
    types = {layer.name: layer.type for layer in old.layers}
    weights.write(arguments.output, old.name, silenced(old, dead), types)
    for name, channels in dead.items():
        if channels.any():
            say(f"{name}: {int(channels.sum())} of {len(channels)} channels")
    count = sum(int(channels.sum()) for channels in dead.values())
    total = sum(len(channels) for channels in dead.values())
    say(
        f"{arguments.output}: {count} of {total} channels are zero now; "
        f"{counted(len(pictures), 'picture')} activated none of them"
    )
