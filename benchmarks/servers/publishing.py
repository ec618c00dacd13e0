"""Puts results and their pictures into docs/performance/, from which the page is generated."""

from benchmarks.servers.plots import PLOTS
from benchmarks.servers.results import Results
from sfd.distribution import HOME
from sfd.files import write_atomically

FOLDER = HOME / "docs" / "performance"
RESULTS = FOLDER / "results.json"


def publish(results: Results) -> None:
    """Write the JSON and the pictures; the page's tables come from `docs/generate.py`."""
    FOLDER.mkdir(exist_ok=True)
    write_atomically(RESULTS, results.text().encode())
    for name, draw in PLOTS.items():
        write_atomically(FOLDER / f"{name}.svg", draw(results))
    print(f"wrote {RESULTS} and {len(PLOTS)} pictures; now run docs/generate.py")
