"""`sfd train`: by a solver file and labelled faces, or by distillation from other detectors."""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from sfd import extras
from sfd.arguments import number, share, threads
from sfd.errors import SfdError, UsageError
from sfd.progress import Steps
from sfd.terminal import say
from training import hyperparameters
from training.commands.refusal import refuse
from training.recipe import Recipe

if TYPE_CHECKING:
    from convert.caffe.network import Diagnostic, Network

STEPS = ("loading PyTorch", "reading networks and images")
"""What a terminal shows before the training begins."""

DESCRIPTION = """\
Train a detector and write its caffemodel.

  sfd train SOLVER.prototxt --images DIR --annotations FILE --output DIR
      follows the solver file and the train and test prototxt that it names: MultiBoxLoss, samplers
      and augmentations. The annotations are WIDER FACE's text (.txt), or JSON lines (.jsonl) of
      {"image": PATH, "boxes": [[x1, y1, x2, y2], ...]} with boxes in pixels.

  sfd train DEPLOY.prototxt --teacher DEPLOY CAFFEMODEL [--teacher ...] --hours H ...
      distils: the network learns to predict what one or several other detectors of its family
      predict. "boxes" may be null for an image that nobody has labelled.

Both save their state every few minutes. --resume continues after any stop.
"""

SOLVER_ONLY: dict[str, object] = {"bfloat16": False, "validation": None}
DISTILLATION_ONLY: dict[str, object] = {
    "hours": None,
    "batch": None,
    "rate": None,
    "enlarged": None,
    "echoes": None,
    "frozen": False,
    "set": [],
}
"""Options of one way to train, with their defaults."""

_FLAGS = ("hours", "batch", "rate", "enlarged", "echoes")
"""Values of the recipe with an option of their own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd train`."""
    parser.add_argument(
        "prototxt",
        type=Path,
        metavar="SOLVER.prototxt",
        help="the solver file; with --teacher, the deploy prototxt of the network to train",
    )
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="FILE", help="the list of images"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="the folder that image names start from (default: the folder of --annotations)",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="for weights, state and log"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="CAFFEMODEL",
        help="start from these weights; missing layers start with the prototxt's fillers",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the state in --output")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--threads", type=threads, metavar="N", help="number of threads (default: all cores)"
    )
    parser.add_argument(
        "--held-out",
        type=share,
        default=0.077,
        metavar="SHARE",
        help="share of the images that is never trained on, chosen by a hash of their names "
        "(default: %(default)s)",
    )
    solver = parser.add_argument_group("training from a solver file")
    solver.add_argument(
        "--validation",
        type=Path,
        metavar="FILE",
        help="the list of images to test on at test_interval (default: the held-out share)",
    )
    solver.add_argument(
        "--bfloat16",
        action="store_true",
        help="compute in bfloat16 where that is safe; faster on recent CPUs",
    )
    distillation = parser.add_argument_group("distillation")
    distillation.add_argument(
        "--teacher",
        type=Path,
        nargs=2,
        action="append",
        default=[],
        metavar=("DEPLOY", "CAFFEMODEL"),
        help="a detector to learn from; several are averaged",
    )
    distillation.add_argument(
        "--hours", type=number, help=f"hours to train (default: {Recipe.hours:g})"
    )
    distillation.add_argument(
        "--batch", type=int, metavar="N", help=f"scenes in a batch (default: {Recipe.batch})"
    )
    distillation.add_argument(
        "--rate", type=number, help=f"the highest learning rate (default: {Recipe.rate:g})"
    )
    distillation.add_argument(
        "--enlarged",
        type=number,
        metavar="SHARE",
        help="share of the scenes that the teachers also see at twice their size, for small faces "
        f"(default: {Recipe.enlarged:g})",
    )
    distillation.add_argument(
        "--echoes",
        type=int,
        metavar="N",
        help="after each new batch, repeat N earlier ones with other augmentations: more steps in "
        f"an hour (default: {Recipe.echoes})",
    )
    distillation.add_argument(
        "--frozen",
        action="store_true",
        help="keep BatchNorm's statistics as they are in --weights, for weights that are nearly "
        "finished; a step takes a third less time",
    )
    distillation.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a value of the recipe, such as blur_chance=0.2 or blur_radius=0.4,2; can be "
        "repeated; `sfd train --help` lists all names",
    )
    width = max(len(name) for name, _, _ in hyperparameters.describe(Recipe))
    parser.add_argument_group(
        "values of the recipe for --set, with their defaults",
        "\n".join(
            f"{name:{width}}  {default:>12}  {about}"
            for name, default, about in hyperparameters.describe(Recipe)
        ),
    )


def run(arguments: argparse.Namespace) -> None:
    """Train as the arguments say, and print the path of the weights."""
    if arguments.resume and arguments.weights:
        raise UsageError(
            "--weights: a run that is resumed continues with its own weights; remove --weights, or "
            "start in another --output without --resume"
        )
    if importlib.util.find_spec("torch") is None:
        raise SfdError(f"training needs PyTorch: {extras.install('train')}")
    steps = Steps(STEPS)
    steps("loading PyTorch")
    import torch

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.seed < 0:
        raise UsageError("--seed can't be negative")
    if arguments.seed >= 2**64:
        raise UsageError("--seed must be below 2^64, because PyTorch takes no larger one")
    # Weights that start at random are drawn when the network is made.
    torch.manual_seed(arguments.seed)
    with steps:
        steps("reading networks and images")
        folder = _distil(arguments, steps) if arguments.teacher else _train(arguments, steps)
    say(folder)


def _train(arguments: argparse.Namespace, steps: Steps) -> Path:
    from convert.caffe import network as caffe
    from convert.caffe.network import CaffeError, Diagnostic
    from training import solver, state
    from training.data import dataset
    from training.data.annotated import AnnotatedData
    from training.network.multibox import MultiBoxLoss
    from training.network.network import CaffeNetwork
    from training.trainer import Job, train
    from training.validation import Validation

    refuse(arguments, DISTILLATION_ONLY, "only with --teacher")
    parsed = solver.read(arguments.prototxt)
    _warn(parsed.warnings)
    settings = parsed.message
    path = _network_file(arguments.prototxt, settings.train_net or settings.net)
    source = caffe.load(path, arguments.weights, phase="TRAIN")
    _warn(source.warnings)
    if not arguments.resume:
        _report_unfilled(source, arguments.weights)
    losses = [layer for layer in source.training_layers if layer.type == "MultiBoxLoss"]
    if not losses:
        raise CaffeError(str(path), [Diagnostic("has no MultiBoxLoss layer")])
    others = [
        each for each in source.training_layers if each.type.endswith("Loss") and each != losses[0]
    ]
    if others:
        what = f"is a second loss; the trainer supports one, here {losses[0].name}"
        raise CaffeError(
            str(path), [Diagnostic(what, each.line, layer=each.name) for each in others]
        )
    listed = dataset.read(arguments.annotations, arguments.images)
    kept, held_out = dataset.split(listed, arguments.held_out)
    kept = [each for each in kept if each.boxes is not None and len(each.boxes)]
    if not kept:
        raise SfdError(f"{arguments.annotations}: has no image with labelled faces to train on")
    if arguments.validation:
        held_out = dataset.read(arguments.validation, arguments.images)
    held_out = [each for each in held_out if each.boxes is not None]
    dataset.check_files([*kept, *held_out])
    validation = None
    tests = list(settings.test_net) or [settings.net]
    if settings.test_interval and tests[0]:
        test = caffe.load(_network_file(arguments.prototxt, tests[0]), None, phase="TEST")
        validation = Validation.of_network(test, settings.ap_version)
    job = Job(
        solver=settings,
        network=CaffeNetwork(source),
        data=AnnotatedData.of_network(source, str(path)),
        loss=MultiBoxLoss.of_layer(losses[0]),
        dataset=kept,
        folder=arguments.output,
        held_out=held_out,
        validation=validation,
        seed=arguments.seed,
        bfloat16=arguments.bfloat16,
    )
    steps.clear()
    with (
        state.only_run(arguments.output),
        tqdm(total=settings.max_iter, unit="it", disable=not sys.stderr.isatty()) as bar,
    ):
        return train(job, resume=arguments.resume, progress=_shown_on(bar))


def _shown_on(bar: "tqdm[Any]") -> Callable[[float, float], None]:
    """Shows how much is done, and the loss."""

    def progress(done: float, loss: float) -> None:
        bar.update(done - bar.n)
        bar.set_postfix(loss=f"{loss:.3f}")

    return progress


def _distil(arguments: argparse.Namespace, steps: Steps) -> Path:
    from convert.caffe import network as caffe
    from convert.layers.weights import unfilled
    from training import state
    from training.data import dataset
    from training.distillation.distiller import distil
    from training.distillation.teacher import OnnxTeacher
    from training.network.network import CaffeNetwork

    refuse(arguments, SOLVER_ONLY, "only with a solver file, not with --teacher")
    recipe = _recipe(arguments)
    if recipe.frozen and not arguments.weights and not arguments.resume:
        raise UsageError("--frozen keeps the statistics of --weights: give --weights too")
    source = caffe.load(arguments.prototxt, arguments.weights)
    _warn(source.warnings)
    if not arguments.resume:
        _report_unfilled(source, arguments.weights)
    without = set(unfilled(source.layers))
    if (
        recipe.frozen
        and not arguments.resume
        and any(layer.type == "BatchNorm" and layer.name in without for layer in source.layers)
    ):
        raise UsageError(
            "--frozen keeps the statistics of --weights, but these lack layers (see above): "
            "train without --frozen first"
        )
    student = CaffeNetwork(source)
    teachers = [OnnxTeacher(caffe.load(*pair)) for pair in arguments.teacher]
    listed = dataset.read(arguments.annotations, arguments.images)
    kept, _ = dataset.split(listed, arguments.held_out)
    if not kept:
        raise SfdError(f"{arguments.annotations}: has no image to train on; lower --held-out")
    dataset.check_files(kept)
    steps.clear()
    bar_format = "{l_bar}{bar}{postfix}"
    with (
        state.only_run(arguments.output),
        tqdm(total=1.0, disable=not sys.stderr.isatty(), bar_format=bar_format) as bar,
    ):
        return distil(
            student,
            teachers,
            kept,
            arguments.output,
            recipe,
            resume=arguments.resume,
            progress=_shown_on(bar),
            warn=lambda text: say(f"sfd train: {text}", error=True),
        )


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe's defaults, with the values of --set and of the options."""
    given: dict[str, Any] = {
        name: getattr(arguments, name) for name in _FLAGS if getattr(arguments, name) is not None
    }
    if arguments.frozen:
        given["frozen"] = True
    settings = hyperparameters.parse(Recipe, arguments.set)
    if "seed" in settings:
        raise UsageError("--set seed: use --seed, which also seeds the weights")
    for name in given.keys() & settings.keys():
        raise UsageError(f"--set {name}: is also given as --{name}; remove one of them")
    return Recipe(**settings, **given, seed=arguments.seed)


def _warn(warnings: "Sequence[Diagnostic]") -> None:
    for warning in warnings:
        say(f"sfd train: warning: {warning}", error=True)


def _report_unfilled(network: "Network", weights: Path | None) -> None:
    """Name the layers that the weights lack. A misspelt name would cost hours otherwise."""
    from convert.layers.weights import unfilled

    names = unfilled(network.layers)
    if weights is not None and not any(layer.blobs for layer in network.layers):
        raise SfdError(
            f"{weights} has no weights for any layer of the network: give a caffemodel of this "
            "architecture"
        )
    if weights is not None and names:
        count = f"{len(names)} layer" + "s" * (len(names) > 1)
        say(
            f"sfd train: {weights} has no weights for {count}, which start with the prototxt's "
            f"fillers: {', '.join(names)}",
            error=True,
        )


def _network_file(solver: Path, name: str) -> Path:
    """The network file that a solver names.

    It is looked for beside the solver, then from the solver's folder and the current one.
    """
    if not name:
        raise SfdError(f"{solver}: names neither a train_net nor a net")
    places = [solver.parent / Path(name).name, solver.parent / name, Path(name)]
    found = [place for place in places if place.is_file()]
    if not found:
        raise SfdError(f"{solver}: its {name} is neither here nor beside the solver")
    if not all(place.samefile(found[0]) for place in found):
        raise SfdError(
            f"{solver}: its {name} may be {' or '.join(map(str, found))}: remove or rename all but "
            "one"
        )
    return found[0]
