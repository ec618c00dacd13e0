"""Convert known networks, compare each with OpenCV, and write the table of docs/convert.md.

    python docs/zoo.py [MODELS]

MODELS is a folder with one folder for each published model, which holds deploy.prototxt and
weights.caffemodel. Without MODELS, the rows of these models stay as they are. The other networks
are generated, with simulated weights. This takes a minute or two, so `python docs/generate.py` does
not update this table.
"""

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from convert import Options, Report, convert_file, explain_file  # noqa: E402
from tests.convert import networks  # noqa: E402

PAGE = ROOT / "docs" / "convert.md"
MARK = re.compile(r"(<!-- zoo -->\n).*?(<!-- /zoo -->)", re.DOTALL)
HEAD = ("network", "weights", "input", "parameters", "MACs", "difference", "time")
PUBLISHED = (
    "sfd-320-mod11e",
    "sfd-320-mod11g",
    "sfd-320-mod11l",
    "sfd-320-mod5-bn",
    "sfd-320-mod5-nobn",
)
OWN = "sfd-640-mobilenetv2-mod2"
SOURCE = "[bonseyes/SFD](https://github.com/bonseyes/SFD), MIT"
BOUND = 1e-4
"""The largest allowed difference, relative to the largest value of the output."""


def published(models: Path, output: Path) -> Iterator[tuple[str, ...]]:
    """One row for each published model that is present."""
    for name in PUBLISHED:
        folder = models / name
        if (folder / "deploy.prototxt").is_file():
            files = folder / "deploy.prototxt", folder / "weights.caffemodel"
            yield row(name, SOURCE, *files, output, Options())


def generated(folder: Path, output: Path) -> Iterator[tuple[str, ...]]:
    """One row for each generated architecture."""
    for name, make in networks.ARCHITECTURES.items():
        prototxt = folder / "deploy.prototxt"
        prototxt.write_text(make())
        yield row(name, "simulated", prototxt, None, output, Options(simulated_weights=1))


def row(
    name: str,
    source: str,
    prototxt: Path,
    caffemodel: Path | None,
    output: Path,
    options: Options,
) -> tuple[str, ...]:
    """Convert one network and return its row."""
    start = time.perf_counter()
    report = convert_file(prototxt, caffemodel, output, options)
    seconds = time.perf_counter() - start
    assert report.verification.status == "verified", (name, report.verification.reason)
    macs = sum(layer.macs for layer in explain_file(prototxt, None, Options()).layers)
    return (
        name,
        source,
        report.metadata["sfd.input_size"],
        f"{report.parameters / 1e6:,.1f} M",
        f"{macs / 1e9:,.2f} G",
        f"{difference(report):.0e}",
        f"{seconds:.1f} s",
    )


def difference(report: Report) -> float:
    """The largest difference, relative to the largest value of its output."""
    return max(each.difference / each.bound * BOUND for each in report.verification.comparisons)


def main() -> None:
    """Rewrite the table."""
    text = PAGE.read_text("utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if len(sys.argv) > 1:
            rows = list(published(Path(sys.argv[1]), folder / "out.onnx"))
        else:
            lines = (MARK.search(text) or [""])[0].splitlines()
            rows = [tuple(line.strip("| ").split(" | ")) for line in lines if SOURCE in line]
        own = ROOT / "model_store" / OWN
        files = own / "deploy.prototxt", own / "weights.caffemodel"
        rows.append(row(OWN, "this repository", *files, folder / "out.onnx", Options()))
        rows += generated(folder, folder / "out.onnx")
    cells = [HEAD, tuple("---" for _ in HEAD), *rows]
    table = "".join("| " + " | ".join(line) + " |\n" for line in cells)
    PAGE.write_text(MARK.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text), "utf-8")


if __name__ == "__main__":
    main()
