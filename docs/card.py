"""Writes the tables and the plot of the default model's card from its evaluation.json.

    python docs/card.py                                  rewrite README.md and detectors.svg
    python docs/card.py --check                          change nothing; exit with 1 if out of date
    python docs/card.py --take evaluation/results.json detectors/detectors.json ...
                                                         first put these results into the JSON

`--take` reads what `sfd evaluate`, `python -m benchmarks.detectors` and
`python -m benchmarks.corruptions` write. Results of the same kind are replaced. Of
detectors.json it takes results on WIDER FACE, and boxes on images without faces. A table's place in
README.md is marked with `<!-- generated: NAME -->` and `<!-- /generated -->`; its names are those
of `TABLES`.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import corruptions, detectors
from benchmarks.markdown import table
from sfd.files import write_atomically

FOLDER = Path(__file__).parent.parent / "model_store" / "sfd-640-mobilenetv2-mod2"
MARK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- /generated -->)", re.DOTALL)

Results = Mapping[str, Any]


def detectors_table(results: Results) -> str:
    """All detectors: average precision, size and time."""
    return detectors.table(results["detectors"])


def false_boxes_table(results: Results) -> str:
    """Boxes on pictures without people."""
    return detectors.false_boxes_table(results["false_boxes"])


def recall_table(results: Results) -> str:
    """Recall by height and attributes; a column for each model."""
    models: Sequence[Mapping[str, Any]] = results["recall"]
    head = ["faces", "number"]
    head += [f"{each['model']}, from {each['recall']['score']:g}" for each in models]
    first = models[0]["recall"]
    rows = []
    for kind, group in first.items():
        for title in group if kind not in ("score", "all") else ():
            cells = [each["recall"][kind][title] for each in models]
            if cells[0]["faces"]:
                label = f"{title} px high" if kind == "height" else f"{kind}: {title}"
                shown = [f"{cell['recall']:.3f}" for cell in cells]
                rows.append([label.replace("<", "under "), str(cells[0]["faces"]), *shown])
    return table(head, rows)


def closeup_table(results: Results) -> str:
    """Faces that fill the frame: the share found, and the boxes drawn."""
    models: Sequence[Mapping[str, Any]] = results["closeup"]
    head = ["share of the height", *(f"{row['share']:g}" for row in models[0]["shares"])]
    medians = [f"{row['median_share']:.2f}" for row in models[0]["shares"]]
    rows = [["really, median", *medians]]
    for each in models:
        found = [f"{row['found']:.2f}" for row in each["shares"]]
        boxes = [f"{row['boxes']:.2f}" for row in each["shares"]]
        rows += [[f"{each['model']}, found", *found], [f"{each['model']}, boxes", *boxes]]
    return table(head, rows)


def corruptions_table(results: Results) -> str:
    """Average precision on corrupted images."""
    return corruptions.table(results["corruptions"])


TABLES = {
    "closeup": closeup_table,
    "corruptions": corruptions_table,
    "detectors": detectors_table,
    "false_boxes": false_boxes_table,
    "recall": recall_table,
}


def take(results: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Put one result file into the results. ValueError for one of another kind."""
    if not isinstance(new, dict):
        raise ValueError("is not a JSON object")
    measured = new.get("models", [new])
    if "detectors" in new:
        rows = new["detectors"]
        if "false_boxes" in rows[0]:
            results["false_boxes"] = [
                {"name": row["name"], "false_boxes": row["false_boxes"]} for row in rows
            ]
        if "easy" in rows[0]["average_precision"]:
            results["detectors"] = [
                {name: value for name, value in row.items() if name != "false_boxes"}
                for row in rows
            ]
    elif "corruptions" in new:
        results["corruptions"] = new["corruptions"]
    elif "shares" in measured[0]:
        results["closeup"] = [
            {"model": each["model"]["name"], "shares": each["shares"]} for each in measured
        ]
    elif "recall" in measured[0]:
        results["recall"] = [
            {"model": each["model"]["name"], "recall": each["recall"]} for each in measured
        ]
    else:
        raise ValueError("has no results of sfd evaluate or of the benchmarks")


def written(card: str, results: Results) -> str:
    """The card with its tables made again. KeyError for a table whose results are not there."""
    return MARK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]](results)}\n{found[3]}", card)


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Rewrite or check the card; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--take", type=Path, nargs="+", default=[], metavar="FILE")
    given = parser.parse_args(arguments)
    source, page = folder / "evaluation.json", folder / "README.md"
    picture = folder / "detectors.svg"
    results = json.loads(source.read_text("utf-8")) if source.is_file() else {}
    for path in given.take:
        try:
            take(results, json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 1
    card = page.read_text("utf-8")
    try:
        fresh = written(card, results)
    except KeyError as error:
        print(
            f"{source}: has no results for the table {error}; add them by --take", file=sys.stderr
        )
        return 1
    # Another version of matplotlib draws other bytes, but the hash in the picture stays.
    drawn = picture.is_file() and detectors.digest(results["detectors"]) in picture.read_text()
    if given.check:
        for path, current in ((page, fresh == card), (picture, drawn)):
            if not current:
                print(f"out of date: {path}")
        return int(fresh != card or not drawn)
    if given.take:
        source.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if fresh != card:
        page.write_text(fresh, "utf-8")
        print(f"rewritten: {page}")
    if not drawn:
        write_atomically(picture, detectors.plot(results["detectors"]))
        print(f"rewritten: {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
