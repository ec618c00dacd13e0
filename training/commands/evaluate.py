"""`sfd evaluate`: average precision of a detector on labelled images."""

import argparse
import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from detection.providers import ProviderName
from sfd.arguments import share
from sfd.errors import SfdError, UsageError
from sfd.files import write_atomically
from sfd.progress import Steps
from sfd.terminal import say
from training.commands.refusal import refuse
from training.evaluation import ground_truth, plot
from training.evaluation.curves import Curve, at_score, best_f1_score
from training.evaluation.ground_truth import GroundTruth
from training.evaluation.local import LocalPredictor
from training.evaluation.native import NativePredictor
from training.evaluation.predictor import Predictor
from training.evaluation.remote import RemotePredictor

DESCRIPTION = """\
Measure a model of the store, or a running service, on labelled images. The measure is WIDER FACE's
official protocol (easy, medium, hard), or average precision at IoU 0.5 if all faces are labelled.

  letterbox   the image shrunk or enlarged to the network's input, as the service sees it
  pyramid     the same, plus the tiles of a large image at full resolution (tiles=auto)
  native      the image at its own resolution, through the network converted to that size

Labelled images that are missing in --images are left out, and counted in the result. The command
prints a table, and writes results.json and curves.png.
"""

STEPS = ("reading the ground truth", "opening the model")
"""What a terminal shows before the measurement begins."""
PROTOCOLS = ("letterbox", "pyramid", "native")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd evaluate`."""
    parser.add_argument("--model", metavar="NAME", help="a model of the store")
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
        "--output",
        type=Path,
        default=Path("evaluation"),
        metavar="DIR",
        help="for results.json and curves.png (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and write."""
    _check(arguments)
    with Steps(STEPS) as steps:
        steps("reading the ground truth")
        labels = ground_truth.read(arguments.ground_truth, arguments.images, arguments.held_out)
        steps("opening the model")
        predictor = _predictor(arguments)
    _prepare(arguments.output)
    started = time.monotonic()
    with (
        contextlib.closing(predictor),
        tqdm(
            total=len(labels.files), unit="image", disable=not sys.stderr.isatty(), leave=False
        ) as bar,
    ):
        found = predictor.predict(labels.files, arguments.min_score, bar.update)
    seconds = time.monotonic() - started
    curves = labels.curves(found)
    result = _result(arguments, predictor, labels, curves, seconds)
    # A measurement may take hours. A full disk must not lose it, and a closed pipe neither.
    try:
        _show(result)
    finally:
        _write(arguments.output, result, curves)
    say(f"{arguments.output}/results.json, curves.png")


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
    if arguments.protocol == "native":
        refuse(arguments, {"provider": None}, "not with --protocol native, which runs on the CPU")
    if not 0 <= arguments.min_score < 1:
        raise UsageError("--min-score must be from 0 to below 1")


def _predictor(arguments: argparse.Namespace) -> Predictor:
    if arguments.protocol == "native":
        return NativePredictor.open(arguments.model, arguments.store)
    tiles = arguments.protocol == "pyramid"
    if arguments.url is not None:
        return RemotePredictor.open(arguments.url, arguments.model, arguments.api_key, tiles=tiles)
    return LocalPredictor.open(arguments.model, arguments.store, arguments.provider, tiles=tiles)


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
    arguments: argparse.Namespace,
    predictor: Predictor,
    labels: GroundTruth,
    curves: Mapping[str, Curve],
    seconds: float,
) -> dict[str, Any]:
    subsets = {}
    for name, curve in curves.items():
        precision, recall = at_score(curve, predictor.default_score)
        subsets[name] = {
            "average_precision": round(curve.average_precision, 4),
            "faces": curve.faces,
            "precision_at_default_score": round(precision, 4),
            "recall_at_default_score": round(recall, 4),
            "best_f1_score": round(best_f1_score(curve), 3),
        }
    return {
        "model": {"name": predictor.name, "version": predictor.version},
        "through": arguments.url or "the detector in this process",
        "protocol": arguments.protocol,
        "rules": labels.rules,
        "held_out": arguments.held_out,
        "images": len(labels.files),
        "images_missing": labels.missing,
        "min_score": arguments.min_score,
        "default_score": predictor.default_score,
        "subsets": subsets,
        "seconds": round(seconds, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _write(folder: Path, result: Mapping[str, Any], curves: Mapping[str, Curve]) -> None:
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / "results.json", text.encode())
    title = f"{result['model']['name']}, {result['protocol']}, {result['images']} images"
    write_atomically(folder / "curves.png", plot.draw(list(curves.values()), title))


def _show(result: Mapping[str, Any]) -> None:
    left_out = f", {result['images_missing']} missing" * bool(result["images_missing"])
    say(f"{result['model']['name']} {result['model']['version']}, {result['protocol']}")
    say(f"{result['rules']}; {result['images']} images{left_out}")
    score = result["default_score"]
    say(
        f"{'':8}{'AP':>8}{'faces':>8}{f'precision at {score}':>20}{f'recall at {score}':>20}"
        f"{'best F1 at':>12}"
    )
    for name, subset in result["subsets"].items():
        say(
            f"{name:8}{subset['average_precision']:8.4f}{subset['faces']:8}"
            f"{subset['precision_at_default_score']:20.4f}{subset['recall_at_default_score']:20.4f}"
            f"{subset['best_f1_score']:12.3f}"
        )
    say(f"{result['seconds']} s, peak {result['peak_mib']} MiB")
