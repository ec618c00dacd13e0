"""Which queries of the dashboard and of the rules have no data in a Prometheus."""

import json
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "check_queries.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """The functions of the script by name."""
    return runpy.run_path(str(SCRIPT), run_name="check_queries")


@contextmanager
def prometheus(
    values: dict[str, list[str]], rules: list[dict[str, str]], wrong: str = ""
) -> Iterator[str]:
    """A server that answers as Prometheus: the values of each query, by default one number.

    It refuses the query `wrong`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = ""
            if parts.path == "/api/v1/rules":
                data: object = {"groups": [{"rules": rules}]}
            else:
                (query,) = parse_qs(parts.query)["query"]
                data = {"result": [{"value": [0, v]} for v in values.get(query, ["1"])]}
            is_wrong = bool(wrong) and query == wrong
            body = json.dumps({"error": "parse error"} if is_wrong else {"data": data}).encode()
            self.send_response(400 if is_wrong else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("query", "measured"),
    [
        ("up == 0", "up"),
        ("rate(a[5m]) > 0.05", "rate(a[5m])"),
        ("a >= bool 1e-3", "a"),
        ("a < -1", "a"),
        ("a / b > 0.5 and c > 3", "a / b and c"),
        ('a{status!="200", route=~"/x"} > 1', 'a{status!="200", route=~"/x"}'),
        ("absent(up)", "up"),
        ("absent(up{job='a'}) == 1", "up{job='a'}"),
        ("sum(a) / sum(b)", "sum(a) / sum(b)"),
    ],
)
def test_an_alert_is_queried_without_its_comparison(
    script: dict[str, Any], query: str, measured: str
) -> None:
    assert script["unconditional"](query) == measured


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["1"], True), (["0"], True), ([], False), (["NaN"], False), (["NaN", "2"], True)],
)
def test_a_query_has_data_if_it_returns_a_number(
    script: dict[str, Any], values: list[str], expected: bool
) -> None:
    with prometheus({"q": values}, []) as url:
        assert script["has_data"](url, "q") is expected


def test_every_panel_is_queried_without_grafanas_variables(
    script: dict[str, Any],
) -> None:
    asked = list(script["of_dashboard"](script["DASHBOARD"]))
    panels = json.loads(script["DASHBOARD"].read_text("utf-8"))["panels"]
    assert len(asked) == sum(len(panel.get("targets", [])) for panel in panels) > 0
    assert not [query for _, query in asked if "$" in query]


def check(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), url], capture_output=True, text=True, check=False
    )


RULES = [
    {"type": "alerting", "name": "Down", "query": "up == 0"},
    {"type": "recording", "name": "job:a:rate", "query": "rate(a[5m])"},
]


def test_if_all_have_data_the_exit_code_is_0() -> None:
    with prometheus({}, RULES) as url:
        done = check(url + "/")
    assert done.returncode == 0, done.stdout + done.stderr
    count = done.stdout.split()[0]
    assert done.stdout == f"{count} of {count} queries return data\n"


def test_queries_without_data_are_named_and_the_exit_code_is_1() -> None:
    with prometheus({"up": [], "rate(a[5m])": ["NaN"]}, RULES) as url:
        done = check(url)
    assert done.returncode == 1
    assert "no data: alert Down: up\n" in done.stdout
    assert "no data: record job:a:rate: rate(a[5m])\n" in done.stdout
    assert done.stdout.count("no data") == 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:9090"])
def test_an_address_without_prometheus_is_named_in_one_line(url: str) -> None:
    done = check(url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{url}/api/v1/rules: ")
    assert "such as http://127.0.0.1:9090" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_query_that_prometheus_refuses_is_named_with_its_reason() -> None:
    with prometheus({}, RULES, wrong="rate(a[5m])") as url:
        done = check(url)
    assert done.returncode == 1
    assert "'rate(a[5m])'" in done.stderr
    assert "parse error" in done.stderr
    assert "such as" not in done.stderr
