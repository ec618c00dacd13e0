"""`sfd evaluate`: average precision of detectors on labelled images."""

import argparse
import contextlib
import itertools
import json
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from detection.providers import ProviderName
from sfd.arguments import positive, share
from sfd.errors import SfdError, UsageError
from sfd.files import write_atomically
from sfd.progress import Steps
from sfd.terminal import say
from training.commands.refusal import refuse
from training.evaluation import bootstrap, closeup, ground_truth, plot, report
from training.evaluation.curves import Curve
from training.evaluation.ground_truth import GroundTruth
from training.evaluation.local import LocalPredictor
from training.evaluation.measurement import Measurement, look, measure
from training.evaluation.native import NativePredictor
from training.evaluation.predictor import Predictor
from training.evaluation.remote import RemotePredictor

DESCRIPTION = """\
Measure models of the store, or a running service, on labelled images. The measure is WIDER FACE's
official protocol (easy, medium, hard), or average precision at IoU 0.5 if all faces are labelled.
Recall by height and attribute of the faces, and boxes on images without faces, are also counted.

  letterbox   the image shrunk or enlarged to the network's input, as the service sees it
  pyramid     the same, plus the tiles of a large image at full resolution (tiles=auto)
  native      the image at its own resolution, through the network converted to that size
  closeup     photographs of one face, cut so that it takes 0.2 to 0.95 of the height: the share
              of faces found, and the boxes drawn; --ground-truth is a .jsonl file

Labelled images that are missing in --images are left out, and counted in the result. The command
prints a table, and writes results.json and curves.png (curves-NAME.png for several models; none
with closeup).
"""

STEPS = ("reading the ground truth", "opening the models")
"""What a terminal shows before the measurement begins."""
PROTOCOLS = ("letterbox", "pyramid", "native", "closeup")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd evaluate`."""
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="a model of the store; give it again for several models on the same images",
    )
    parser.add_argument("--url", metavar="URL", help="a running service")
    parser.add_argument("--api-key", metavar="KEY", help="API key of the service; only with --url")
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="where to look for the model (default: as `sfd models` does); not with --url",
    )
    parser.add_argument(
        "--provider",
        type=str.lower,
        choices=[each.value for each in ProviderName],
        metavar="NAME",
        help=f"one of {', '.join(ProviderName)}; not with --url or --protocol native",
    )
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder that image names start from; for WIDER FACE, WIDER_val/images",
    )
    parser.add_argument(
        "--ground-truth",
        type=Path,
        required=True,
        metavar="PATH",
        help="the folder of the .mat files, wider_face_val_bbx_gt.txt, or a .jsonl file of "
        '{"image": PATH, "boxes": [[x1, y1, x2, y2], ...]}',
    )
    parser.add_argument(
        "--protocol", choices=PROTOCOLS, default="letterbox", help="default: %(default)s"
    )
    parser.add_argument(
        "--held-out",
        type=share,
        metavar="SHARE",
        help="with a .jsonl or .txt file, measure only on the share that `sfd train --held-out "
        "SHARE` does not train on (its default: 0.077)",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.01,
        metavar="S",
        help="lowest score of the detections, at which the curve ends (default: %(default)s)",
    )
    parser.add_argument(
        "--score",
        type=float,
        metavar="S",
        help="the score at which recall by group, false boxes and close-ups are counted (default: "
        "each model's own)",
    )
    parser.add_argument(
        "--faces",
        type=positive,
        default=closeup.FACES,
        metavar="N",
        help="faces to cut with --protocol closeup (default: %(default)s)",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="keep detections in this folder as they are made; with the same folder, a stopped "
        "measurement continues, and unchanged models are not run again; not with --url",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("evaluation"),
        metavar="DIR",
        help="for results.json and curves.png (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and write."""
    _check(arguments)
    with contextlib.ExitStack() as stack:
        with Steps(STEPS) as steps:
            steps("reading the ground truth")
            labels = _labels(arguments)
            steps("opening the models")
            predictors = []
            for name in arguments.model or [None]:
                predictors.append(_predictor(arguments, name))
                stack.callback(predictors[-1].close)
        for each in predictors:
            if arguments.score is None and each.default_score < arguments.min_score:
                raise UsageError(
                    f"--min-score {arguments.min_score:g} is above the default score of "
                    f"{each.name}, {each.default_score:g}; lower it, or give --score"
                )
        _prepare(arguments.output)
        if isinstance(labels, list):
            results = [_closeups(arguments, each, labels) for each in predictors]
            measured: list[Measurement] = []
        else:
            measured = [
                measure(each, labels, arguments.min_score, arguments.score, arguments.keep)
                for each in predictors
            ]
            results = [
                _result(arguments, predictor, labels, each)
                for predictor, each in zip(predictors, measured, strict=True)
            ]
    comparisons: list[dict[str, Any]] = []
    # A measurement may take hours. Neither a full disk, a closed pipe nor Ctrl-C may lose it.
    try:
        if isinstance(labels, GroundTruth):
            comparisons = _comparisons(labels, results, measured)
        for line in report.lines(results, comparisons):
            say(line)
    finally:
        written = _write(arguments.output, results, comparisons, [each.curves for each in measured])
    say(f"{arguments.output}/{', '.join(written)}")


def _check(arguments: argparse.Namespace) -> None:
    if arguments.url is None:
        if arguments.model is None:
            raise UsageError("give --model NAME or --url URL")
        refuse(arguments, {"api_key": None}, "only with --url")
    else:
        if arguments.protocol == "native":
            raise UsageError(
                "--protocol native needs --model, because a service letterboxes every image"
            )
        refuse(
            arguments,
            {"store": None, "provider": None},
            "not with --url, because the service has its own",
        )
        refuse(arguments, {"keep": None}, "not with --url, because a service may change unseen")
    names = arguments.model or []
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"--model {', '.join(sorted(twice))}: is given twice")
    if arguments.protocol == "native":
        refuse(arguments, {"provider": None}, "not with --protocol native, which runs on the CPU")
    if arguments.protocol == "closeup":
        if arguments.ground_truth.suffix != ".jsonl":
            raise UsageError("--protocol closeup needs a .jsonl file as --ground-truth")
    else:
        refuse(arguments, {"faces": closeup.FACES}, "only with --protocol closeup")
    if not 0 <= arguments.min_score < 1:
        raise UsageError("--min-score must be from 0 to below 1")
    if arguments.score is not None and not arguments.min_score <= arguments.score <= 1:
        raise UsageError("--score must be from --min-score to 1")


def _labels(arguments: argparse.Namespace) -> GroundTruth | list[closeup.Face]:
    if arguments.protocol == "closeup":
        return closeup.choose(
            arguments.ground_truth, arguments.images, arguments.held_out, arguments.faces
        )
    return ground_truth.read(arguments.ground_truth, arguments.images, arguments.held_out)


def _predictor(arguments: argparse.Namespace, name: str | None) -> Predictor:
    tiles = arguments.protocol == "pyramid"
    if arguments.url is not None:
        return RemotePredictor.open(arguments.url, name, arguments.api_key, tiles=tiles)
    assert name is not None, "_check refuses it"
    if arguments.protocol == "native":
        return NativePredictor.open(name, arguments.store)
    return LocalPredictor.open(name, arguments.store, arguments.provider, tiles=tiles)


def _prepare(folder: Path) -> None:
    """Make the folder, and test that files can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise SfdError(f"--output {folder}: can't be written: {reason}") from error


def _result(
    arguments: argparse.Namespace, predictor: Predictor, labels: GroundTruth, own: Measurement
) -> dict[str, Any]:
    return {
        **_described(arguments, predictor),
        "rules": labels.rules,
        "held_out": arguments.held_out,
        "images": len(labels.files),
        "images_missing": labels.missing,
        "min_score": arguments.min_score,
        "default_score": predictor.default_score,
        **own.figures,
        **_cost(own.seconds),
    }


def _closeups(
    arguments: argparse.Namespace, predictor: Predictor, faces: Sequence[closeup.Face]
) -> dict[str, Any]:
    score = predictor.default_score if arguments.score is None else arguments.score
    started = time.monotonic()
    rows = closeup.measure(
        faces, score, lambda files: look(predictor, files, arguments.min_score, arguments.keep)
    )
    return {
        **_described(arguments, predictor),
        "held_out": arguments.held_out,
        "faces": len(faces),
        "min_score": arguments.min_score,
        "score": score,
        "shares": rows,
        **_cost(time.monotonic() - started),
    }


def _described(arguments: argparse.Namespace, predictor: Predictor) -> dict[str, Any]:
    return {
        "model": {"name": predictor.name, "version": predictor.version},
        "through": arguments.url or "the detector in this process",
        "protocol": arguments.protocol,
    }


def _cost(seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _comparisons(
    labels: GroundTruth, results: Sequence[Mapping[str, Any]], measured: Sequence[Measurement]
) -> list[dict[str, Any]]:
    """The paired bootstrap of each two models."""
    return [
        {
            "models": [results[one]["model"]["name"], results[other]["model"]["name"]],
            "better": bootstrap.probability_better(
                labels, measured[one].found, measured[other].found
            ),
        }
        for one, other in tqdm(
            list(itertools.combinations(range(len(measured)), 2)),
            unit="pair",
            disable=None,
            leave=False,
        )
    ]


def _write(
    folder: Path,
    results: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    curves: Sequence[Mapping[str, Curve]],
) -> list[str]:
    """Write the files, and return their names, with a remark at those that were there before."""
    whole: Mapping[str, Any] = results[0]
    if len(results) > 1:
        whole = {"models": results, "comparisons": comparisons}
    files = {"results.json": (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()}
    for result, own in zip(results, curves, strict=False):
        name = result["model"]["name"]
        title = f"{name}, {result['protocol']}, {result['images']} images"
        file = "curves.png" if len(results) == 1 else f"curves-{name}.png"
        files[file] = plot.draw(list(own.values()), title)
    written = []
    for file, content in files.items():
        written.append(file + " (replaced)" * (folder / file).exists())
        write_atomically(folder / file, content)
    return written
