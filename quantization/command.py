"""`sfd models quantize`: writes an int8 file beside a model's float32 file."""

import argparse
from pathlib import Path

from detection import settings
from detection.settings import DetectionSettings
from quantization.images import divide
from quantization.making import make
from sfd.terminal import say
from store.model import load
from store.options import add_options, folder_of
from store.progress import progress_bar

DESCRIPTION = """\
Write an int8 file beside a model's float32 file, and measure its speed and how well its faces
agree. SFD_PRECISION=int8 serves it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd models quantize`."""
    add_options(parser)
    parser.add_argument("name", metavar="NAME", help="as `sfd models list` shows it")
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder of photographs like those that the service gets: at least 20, better 200. "
        "A quarter is used to measure, the others to calibrate",
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite an int8 file that exists already"
    )


def run(arguments: argparse.Namespace) -> None:
    """Quantize a model. Raises SfdError if it fails."""
    model = load(folder_of(arguments.name, arguments))
    limits = settings.load(DetectionSettings, models=(), default_model=model.name)
    images = divide(arguments.images, limits.max_pixels)
    with progress_bar(model.name, images.steps) as progress:
        made = make(model, images, force=arguments.force, progress=progress)
    agreement, speed = made.agreement, made.speed
    say(
        f"{model.name}: wrote {model.int8}, calibrated on {made.calibration.images} images. On "
        f"{agreement.images} others it finds {agreement.matched:.1%} of the {agreement.faces} "
        f"faces of float32 and {agreement.extra} more; IoU {agreement.iou_median:.3f} in the "
        f"median; {speed.ratio:.2f} times as fast. SFD_PRECISION=int8 serves it"
    )
