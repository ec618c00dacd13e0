"""`python -m benchmarks.tradeoff FILE`: publishes speed against accuracy of the precisions.

FILE is what `python -m benchmarks.precisions --out` wrote. It goes to docs/performance/, with a
plot; `docs/generate.py` writes the table of docs/precision.md from it.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.drawing import OURS, figure, svg
from benchmarks.markdown import table
from benchmarks.servers.results import PUBLISHED
from benchmarks.servers.tables import number
from sfd.files import write_atomically

ROWS = PUBLISHED / "precisions.json"
PLOT = PUBLISHED / "precisions.svg"
SUBSETS = ("easy", "medium", "hard")


def read(path: Path = ROWS) -> dict[str, Any]:
    """The measurements of a file. Raises OSError or ValueError if it has none."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict) or "rows" not in found:
        raise ValueError("is not a file of `python -m benchmarks.precisions --out`")
    return found


def costs(found: dict[str, Any]) -> str:
    """Milliseconds, speed and average precision of each precision, as Markdown."""
    rows = []
    for row in found["rows"]:
        accuracy = [number(row["accuracy"].get(each), 4) for each in SUBSETS]
        milliseconds = f"{row['median_ms']:.1f} ({row['low_ms']:.1f}–{row['high_ms']:.1f})"
        rows.append((row["name"], milliseconds, f"{1 / row['ratio']:.2f}", *accuracy))
    return table(("", "ms per image", "speed", *SUBSETS), rows)


def digest(found: dict[str, Any]) -> str:
    """The hash of the measurements; it stands in the plot."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def plot(found: dict[str, Any]) -> bytes:
    """Average precision (hard) against milliseconds per image, as SVG."""
    drawn, axes = figure(4.0)
    for row in found["rows"]:
        if "hard" in row["accuracy"]:
            point = row["median_ms"], row["accuracy"]["hard"]
            axes.plot(*point, "o", color=OURS)
            axes.annotate(row["name"], point, xytext=(6, 4), textcoords="offset points")
    axes.set_xlabel("milliseconds per image")
    axes.set_ylabel("average precision, hard")
    axes.margins(x=0.2, y=0.2)
    axes.grid(visible=True, alpha=0.3)
    return svg(drawn, digest(found))


def main(arguments: list[str] | None = None) -> int:
    """Publish a file; returns the exit code."""
    parser = argparse.ArgumentParser(description="Publish speed against accuracy of precisions.")
    parser.add_argument("file", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        found = read(given.file)
    except (OSError, ValueError) as error:
        print(f"tradeoff: {given.file}: {error}", file=sys.stderr)
        return 1
    write_atomically(ROWS, (json.dumps(found, indent=1) + "\n").encode())
    write_atomically(PLOT, plot(found))
    print(f"wrote {ROWS} and {PLOT}; now run `python docs/generate.py`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
