"""`sfd train`: by a solver file and marked faces, or by what other detectors see."""

import argparse
import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from sfd.arguments import share
from sfd.errors import SfdError, UsageError
from training.commands.refusal import refuse

if TYPE_CHECKING:
    from convert.caffe.network import Diagnostic, Network

DESCRIPTION = """\
Train a detector and write its caffemodel.

  sfd train SOLVER.prototxt --images DIR --annotations FILE --output DIR
      obeys the solver file and the train and test prototxt that it names: MultiBoxLoss, samplers
      and distortions. The annotations are WIDER FACE's text (.txt), or JSON lines (.jsonl) of
      {"image": PATH, "boxes": [[x1, y1, x2, y2], ...]} with boxes in pixels.

  sfd train DEPLOY.prototxt --teacher DEPLOY CAFFEMODEL [--teacher ...] --hours H ...
      distils: the network learns what one or several other detectors of its family see in the
      photographs. "boxes" may be null where nobody marked the faces.

Both save their state every few minutes; --resume goes on after any stop.
"""

BY_SOLVER = {"bfloat16": False, "validation": None}
BY_TEACHERS = {
    "hours": 2.0,
    "batch": 8,
    "rate": 8e-4,
    "enlarged": 0.0,
    "echoes": 0,
    "frozen": False,
}
"""Options of one way to train, with their defaults."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd train`."""
    parser.add_argument(
        "prototxt",
        type=Path,
        metavar="SOLVER.prototxt",
        help="the solver file; with --teacher, the deploy prototxt of the network to train",
    )
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="FILE", help="what to train on"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="the folder that the annotations' image names start from (default: the file's own)",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="for weights, state and log"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="CAFFEMODEL",
        help="start from these; layers that they lack start as the prototxt's fillers say",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the state in --output")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads of computation (default: all cores)"
    )
    parser.add_argument(
        "--held-out",
        type=share,
        default=0.077,
        metavar="SHARE",
        help="share of the photographs never trained on, chosen by the hash of their names "
        "(default: %(default)s)",
    )
    solver = parser.add_argument_group("by a solver file")
    solver.add_argument(
        "--validation",
        type=Path,
        metavar="FILE",
        help="what to test on at test_interval (default: the held-out share)",
    )
    solver.add_argument(
        "--bfloat16",
        action="store_true",
        help="compute in bfloat16 where that is safe: faster on recent CPUs",
    )
    teachers = parser.add_argument_group("by teachers")
    teachers.add_argument(
        "--teacher",
        type=Path,
        nargs=2,
        action="append",
        default=[],
        metavar=("DEPLOY", "CAFFEMODEL"),
        help="a detector to learn from; several are averaged",
    )
    teachers.add_argument(
        "--hours", type=float, default=BY_TEACHERS["hours"], help="default: %(default)s"
    )
    teachers.add_argument(
        "--batch", type=int, default=BY_TEACHERS["batch"], metavar="N", help="default: %(default)s"
    )
    teachers.add_argument(
        "--rate",
        type=float,
        default=BY_TEACHERS["rate"],
        help="the highest learning rate (default: %(default)s)",
    )
    teachers.add_argument(
        "--enlarged",
        type=share,
        default=BY_TEACHERS["enlarged"],
        metavar="SHARE",
        help="share of the scenes that the teachers also look at enlarged twice, for small faces "
        "(default: %(default)s)",
    )
    teachers.add_argument(
        "--echoes",
        type=int,
        default=BY_TEACHERS["echoes"],
        metavar="N",
        help="after each batch, learn from N that the teachers saw before, spoilt in other ways: "
        "more steps in an hour (default: %(default)s)",
    )
    teachers.add_argument(
        "--frozen",
        action="store_true",
        help="keep BatchNorm's statistics as they are in --weights, where these are nearly done: "
        "a step takes a third less time",
    )


def run(arguments: argparse.Namespace) -> None:
    """Train as the arguments say and print where the weights are."""
    if importlib.util.find_spec("torch") is None:
        raise SfdError("training needs PyTorch: pip install -e '.[train]'")
    import torch

    if arguments.threads is not None:
        if arguments.threads < 1:
            raise UsageError("--threads must be at least 1")
        torch.set_num_threads(arguments.threads)
    if arguments.seed < 0:
        raise UsageError("--seed can't be negative")
    # What the weights lack is drawn when the network is made.
    torch.manual_seed(arguments.seed)
    print(_distil(arguments) if arguments.teacher else _train(arguments))


def _train(arguments: argparse.Namespace) -> Path:
    from convert.caffe import network as caffe
    from convert.caffe.network import CaffeError, Diagnostic
    from training import photographs, solver
    from training.annotated import AnnotatedData
    from training.multibox import MultiBoxLoss
    from training.network import CaffeNetwork
    from training.trainer import Job, train
    from training.validation import Validation

    refuse(arguments, BY_TEACHERS, "only with --teacher")
    parsed = solver.read(arguments.prototxt)
    _warn(parsed.warnings)
    settings = parsed.message
    path = _beside(arguments.prototxt, settings.train_net or settings.net)
    source = caffe.load(path, arguments.weights, phase="TRAIN")
    _warn(source.warnings)
    if not arguments.resume:
        _tell_unfilled(source, arguments.weights)
    losses = [layer for layer in source.training_layers if layer.type == "MultiBoxLoss"]
    if not losses:
        raise CaffeError(str(path), [Diagnostic("has no MultiBoxLoss layer to train by")])
    others = [
        each for each in source.training_layers if each.type.endswith("Loss") and each != losses[0]
    ]
    if others:
        what = f"a second loss: the trainer has {losses[0].name} alone"
        raise CaffeError(
            str(path), [Diagnostic(what, each.line, layer=each.name) for each in others]
        )
    listed = photographs.read(arguments.annotations, arguments.images)
    kept, held_out = photographs.split(listed, arguments.held_out)
    kept = [each for each in kept if each.boxes is not None and len(each.boxes)]
    if not kept:
        raise SfdError(f"{arguments.annotations}: no photograph with marked faces to train on")
    if arguments.validation:
        held_out = photographs.read(arguments.validation, arguments.images)
    held_out = [each for each in held_out if each.boxes is not None]
    photographs.check_files([*kept, *held_out])
    validation = None
    tests = list(settings.test_net) or [settings.net]
    if settings.test_interval and tests[0]:
        test = caffe.load(_beside(arguments.prototxt, tests[0]), None, phase="TEST")
        validation = Validation.of_network(test, settings.ap_version)
    job = Job(
        solver=settings,
        network=CaffeNetwork(source),
        data=AnnotatedData.of_network(source, str(path)),
        loss=MultiBoxLoss.of_layer(losses[0]),
        photographs=kept,
        folder=arguments.output,
        held_out=held_out,
        validation=validation,
        seed=arguments.seed,
        bfloat16=arguments.bfloat16,
    )
    with tqdm(total=settings.max_iter, unit="it", disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, loss: float) -> None:
            bar.update(done - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}")

        return train(job, resume=arguments.resume, progress=progress)


def _distil(arguments: argparse.Namespace) -> Path:
    from convert.caffe import network as caffe
    from convert.layers.weights import unfilled
    from training import photographs
    from training.distillation import distil
    from training.network import CaffeNetwork
    from training.recipe import Recipe
    from training.teacher import OnnxTeacher

    refuse(arguments, BY_SOLVER, "only with a solver file, not with --teacher")
    if not (
        0 < arguments.hours < math.inf and arguments.batch >= 1 and 0 < arguments.rate < math.inf
    ):
        raise UsageError("--hours, --batch and --rate must be positive")
    if arguments.echoes < 0:
        raise UsageError("--echoes can't be negative")
    if arguments.frozen and not arguments.weights and not arguments.resume:
        raise UsageError("--frozen keeps the statistics of --weights: name these too")
    source = caffe.load(arguments.prototxt, arguments.weights)
    _warn(source.warnings)
    if not arguments.resume:
        _tell_unfilled(source, arguments.weights)
    without = set(unfilled(source.layers))
    if (
        arguments.frozen
        and not arguments.resume
        and any(layer.type == "BatchNorm" and layer.name in without for layer in source.layers)
    ):
        raise UsageError("--frozen keeps the statistics of --weights, which lack some: see above")
    student = CaffeNetwork(source)
    teachers = [OnnxTeacher(caffe.load(*pair)) for pair in arguments.teacher]
    listed = photographs.read(arguments.annotations, arguments.images)
    kept, _ = photographs.split(listed, arguments.held_out)
    if not kept:
        raise SfdError(f"{arguments.annotations}: no photograph to train on")
    photographs.check_files(kept)
    recipe = Recipe(
        hours=arguments.hours,
        batch=arguments.batch,
        rate=arguments.rate,
        seed=arguments.seed,
        enlarged_share=arguments.enlarged,
        echoes=arguments.echoes,
        frozen=arguments.frozen,
    )
    with tqdm(
        total=1.0, disable=not sys.stderr.isatty(), bar_format="{l_bar}{bar}{postfix}"
    ) as bar:

        def progress(done: float, loss: float) -> None:
            bar.update(done - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}")

        return distil(
            student,
            teachers,
            kept,
            arguments.output,
            recipe,
            resume=arguments.resume,
            progress=progress,
        )


def _warn(warnings: "Sequence[Diagnostic]") -> None:
    for warning in warnings:
        print(f"sfd train: warning: {warning}", file=sys.stderr)


def _tell_unfilled(network: "Network", weights: Path | None) -> None:
    """A misspelt name would go unnoticed for hours otherwise."""
    from convert.layers.weights import unfilled

    names = unfilled(network.layers)
    if weights is not None and not any(layer.blobs for layer in network.layers):
        raise SfdError(f"{weights} has no weights for any layer of the network: is it another's?")
    if weights is not None and names:
        count = f"{len(names)} layer" + "s" * (len(names) > 1)
        print(
            f"sfd train: {weights} has no weights for {count}, which start as the prototxt's "
            f"fillers say: {', '.join(names)}",
            file=sys.stderr,
        )


def _beside(solver: Path, name: str) -> Path:
    """The network file that a solver names: beside it, or from its folder or the current one."""
    if not name:
        raise SfdError(f"{solver}: names no train_net and no net")
    places = [solver.parent / Path(name).name, solver.parent / name, Path(name)]
    found = [place for place in places if place.is_file()]
    if not found:
        raise SfdError(f"{solver}: its {name} is neither here nor beside the solver")
    if not all(place.samefile(found[0]) for place in found):
        raise SfdError(
            f"{solver}: its {name} may be {' or '.join(map(str, found))}: name one file alone"
        )
    return found[0]
