"""Puts results and their pictures into docs/performance/, from which the page is generated."""

from benchmarks.servers.plots import PLOTS
from benchmarks.servers.results import PUBLISHED, RESULTS, Results
from sfd.files import write_atomically


def publish(results: Results) -> None:
    """Write the JSON and the pictures; the page's tables come from `docs/generate.py`."""
    PUBLISHED.mkdir(exist_ok=True)
    write_atomically(RESULTS, results.text().encode())
    for name, draw in PLOTS.items():
        write_atomically(PUBLISHED / f"{name}.svg", draw(results))
    print(f"wrote {RESULTS} and {len(PLOTS)} pictures; now run `python docs/generate.py`")
