"""Find the queries of the rules and of the dashboard that have no data in a Prometheus.

    python docker/check_queries.py http://127.0.0.1:9090

A query that returns nothing is a panel that stays empty, or an alert that never fires. For example,
a metric was renamed, or a label never had that value. The script drops comparisons with a number,
because an alert that does not fire returns nothing, and replaces absent(X) by X. It exits with 0 if
all queries return numbers, and with 1 otherwise. Run it after some traffic of every kind, including
rejections.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

DASHBOARD = Path(__file__).parent / "grafana" / "dashboards" / "sfd.json"
# The values that Grafana would insert for its variables.
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}


def ask(url: str, path: str, **parameters: str) -> Any:
    """Return `data` of an answer from Prometheus's HTTP API."""
    try:
        with urlopen(f"{url}{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]
    except HTTPError as error:
        if refusal := _refusal(error):
            sys.exit(f"{url}{path} {parameters}: {refusal}")
        reason: Exception = error
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        reason = error
    sys.exit(f"{url}{path}: {reason} (give a Prometheus, such as http://127.0.0.1:9090)")


def _refusal(answer: HTTPError) -> str | None:
    """Why Prometheus refuses a query; None if the answer is not from Prometheus."""
    try:
        return str(json.load(answer)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def of_dashboard(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (panel, query) of a dashboard file, with Grafana's variables filled in."""
    for panel in json.loads(path.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            yield f"panel {panel['title']!r}", query


def of_rules(url: str) -> Iterator[tuple[str, str]]:
    """Yield (rule, query) of every rule that this Prometheus has loaded."""
    for group in ask(url, "/api/v1/rules")["groups"]:
        for rule in group["rules"]:
            kind = "alert" if rule["type"] == "alerting" else "record"
            yield f"{kind} {rule['name']}", unconditional(rule["query"])


def unconditional(query: str) -> str:
    """Return an alert's query without its comparison."""
    query = re.sub(r"\s*(==|!=|>=|<=|>|<)\s*(bool\s+)?-?[0-9][0-9.e+-]*", "", query)
    absent = re.fullmatch(r"absent\((.*)\)", query.strip(), re.DOTALL)
    return absent[1] if absent else query


def has_data(url: str, query: str) -> bool:
    """Tell whether a query returns at least one number."""
    result = ask(url, "/api/v1/query", query=query)["result"]
    return any(not math.isnan(float(series["value"][1])) for series in result)


def main() -> int:
    """Run all queries, print those without data, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", help="address of the Prometheus")
    url = parser.parse_args().url.rstrip("/")
    queries = [*of_dashboard(DASHBOARD), *of_rules(url)]
    empty = [(where, query) for where, query in queries if not has_data(url, query)]
    for where, query in empty:
        print(f"no data: {where}: {' '.join(query.split())}")
    print(f"{len(queries) - len(empty)} of {len(queries)} queries return data")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
