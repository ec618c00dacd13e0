"""`sfd evaluate`: average precision of what the service finds, on marked images."""

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
from training.commands.refusal import refuse
from training.evaluation import picture, truth
from training.evaluation.curves import Curve, at_score, best_f1_score
from training.evaluation.finders import Finder, Local
from training.evaluation.native import Native
from training.evaluation.remote import Remote
from training.evaluation.truth import Truth

DESCRIPTION = """\
Measure a model of the store, or a running service, on marked images: by WIDER FACE's official
protocol (easy, medium, hard), or average precision at IoU 0.5 on images whose every face is marked.

  letterbox   the image shrunk or enlarged to the network's input, as the service sees it
  pyramid     the same and, of a large image, its tiles at full resolution (tiles=auto)
  native      the image at its own resolution, through the network converted to that size

Marked images that are not in --images are left out, and counted in the result. Prints a table and
writes results.json and curves.png.
"""

PROTOCOLS = ("letterbox", "pyramid", "native")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sfd evaluate`."""
    parser.add_argument("--model", metavar="NAME", help="a model of the store")
    parser.add_argument("--url", metavar="URL", help="a running service, asked by HTTP")
    parser.add_argument("--api-key", metavar="KEY", help="of the service at --url; only with it")
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="model store (default: $SFD_MODEL_STORE); not with --url",
    )
    parser.add_argument(
        "--provider",
        type=str.lower,
        choices=tuple(ProviderName),
        metavar="NAME",
        help=f"one of {', '.join(ProviderName)}; not with --url or --protocol native",
    )
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder that image names start from; of WIDER FACE, WIDER_val/images",
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
        help="of a .jsonl or .txt file, measure only on the share that `sfd train --held-out "
        "SHARE` did not train on (its default: 0.077)",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.01,
        metavar="S",
        help="detections below it are not asked for: it ends the curve (default: %(default)s)",
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
    marked = truth.read(arguments.ground_truth, arguments.images, arguments.held_out)
    finder = _finder(arguments)
    _prepare(arguments.output)
    started = time.monotonic()
    with (
        contextlib.closing(finder),
        tqdm(
            total=len(marked.files), unit="image", disable=not sys.stderr.isatty(), leave=False
        ) as bar,
    ):
        found = finder.find(marked.files, arguments.min_score, bar.update)
    seconds = time.monotonic() - started
    curves = marked.curves(found)
    result = _result(arguments, finder, marked, curves, seconds)
    # What took hours to measure outlives both a disk that is full and a pipe that is closed.
    try:
        _show(result)
    finally:
        _write(arguments.output, result, curves)
    print(f"{arguments.output}/results.json, curves.png")


def _check(arguments: argparse.Namespace) -> None:
    if arguments.url is None:
        if arguments.model is None:
            raise UsageError("give --model NAME or --url URL")
        refuse(arguments, {"api_key": None}, "only with --url")
    else:
        if arguments.protocol == "native":
            raise UsageError("--protocol native needs --model: a service letterboxes every image")
        refuse(
            arguments,
            {"store": None, "provider": None},
            "not with --url: the service has its own",
        )
    if arguments.protocol == "native":
        refuse(arguments, {"provider": None}, "not with --protocol native, which runs on the CPU")
    if not 0 <= arguments.min_score < 1:
        raise UsageError("--min-score must be from 0 to below 1")


def _finder(arguments: argparse.Namespace) -> Finder:
    if arguments.protocol == "native":
        return Native.open(arguments.model, arguments.store)
    tiles = arguments.protocol == "pyramid"
    if arguments.url is not None:
        return Remote.open(arguments.url, arguments.model, arguments.api_key, tiles=tiles)
    return Local.open(arguments.model, arguments.store, arguments.provider, tiles=tiles)


def _prepare(folder: Path) -> None:
    """Make the folder, and try it: one that is there may still take no files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise SfdError(f"--output {folder}: can't be written: {reason}") from error


def _result(
    arguments: argparse.Namespace,
    finder: Finder,
    marked: Truth,
    curves: Mapping[str, Curve],
    seconds: float,
) -> dict[str, Any]:
    subsets = {}
    for name, curve in curves.items():
        precision, recall = at_score(curve, finder.default_score)
        subsets[name] = {
            "average_precision": round(curve.average_precision, 4),
            "faces": curve.faces,
            "precision_at_default_score": round(precision, 4),
            "recall_at_default_score": round(recall, 4),
            "best_f1_score": round(best_f1_score(curve), 3),
        }
    return {
        "model": {"name": finder.name, "version": finder.version},
        "through": arguments.url or "the detector in this process",
        "protocol": arguments.protocol,
        "rules": marked.rules,
        "held_out": arguments.held_out,
        "images": len(marked.files),
        "images_missing": marked.missing,
        "min_score": arguments.min_score,
        "default_score": finder.default_score,
        "subsets": subsets,
        "seconds": round(seconds, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _write(folder: Path, result: Mapping[str, Any], curves: Mapping[str, Curve]) -> None:
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / "results.json", text.encode())
    title = f"{result['model']['name']}, {result['protocol']}, {result['images']} images"
    write_atomically(folder / "curves.png", picture.draw(list(curves.values()), title))


def _show(result: Mapping[str, Any]) -> None:
    left_out = f", {result['images_missing']} more not there" * bool(result["images_missing"])
    print(f"{result['model']['name']} {result['model']['version']}, {result['protocol']}")
    print(f"{result['rules']}; {result['images']} images{left_out}")
    score = result["default_score"]
    print(
        f"{'':8}{'AP':>8}{'faces':>8}{f'precision at {score}':>20}{f'recall at {score}':>20}"
        f"{'best F1 at':>12}"
    )
    for name, subset in result["subsets"].items():
        print(
            f"{name:8}{subset['average_precision']:8.4f}{subset['faces']:8}"
            f"{subset['precision_at_default_score']:20.4f}{subset['recall_at_default_score']:20.4f}"
            f"{subset['best_f1_score']:12.3f}"
        )
    print(f"{result['seconds']} s, peak {result['peak_mib']} MiB")
