import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from service import logs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    """What is logged at info and above, as parsed JSON lines."""
    found: list[dict[str, object]] = []

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(logs.JsonFormatter().format(record)))

    root, catch = logging.getLogger(), Catch()
    level = root.level
    root.addHandler(catch)
    root.setLevel("INFO")
    yield found
    root.removeHandler(catch)
    root.setLevel(level)


def test_no_character_of_a_client_ends_a_line() -> None:
    message = "a\x85b\u2028c\u2029d\x9be"
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, message, None, None)
    text = logs.JsonFormatter().format(record)
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert json.loads(text)["message"] == message


def test_a_request_is_one_line_with_its_id(
    client: TestClient, bright_cells: Callable[..., bytes], lines: list[dict[str, object]]
) -> None:
    client.post("/detect?min_score=0.1", content=bright_cells(1, 2), headers={"X-Request-ID": "me"})
    (line,) = [line for line in lines if line["logger"] == "service.access"]
    assert line["request_id"] == "me"
    assert line["route"] == "/detect"
    assert line["status"] == 200
    assert line["faces"] == 2
    assert isinstance(line["duration_ms"], float)


def test_probes_are_not_logged_at_info(client: TestClient, lines: list[dict[str, object]]) -> None:
    client.get("/livez")
    client.get("/metrics")
    assert [line for line in lines if line["logger"] == "service.access"] == []


def test_any_content_stays_on_one_line() -> None:
    record = logging.makeLogRecord({"msg": 'new\nline "quoted" %s', "args": ("\x00ü",)})
    text = logs.JsonFormatter().format(record)
    assert "\n" not in text
    assert json.loads(text)["message"] == 'new\nline "quoted" \x00ü'


def test_the_runbooks_filter_shows_all_but_info_lines() -> None:
    pattern = re.search(r"grep -v '([^']+)'", (ROOT / "docs/runbook.md").read_text())
    assert pattern
    lines = {
        level: logs.JsonFormatter().format(logging.makeLogRecord({"msg": "x", "levelname": level}))
        for level in ("INFO", "WARNING", "ERROR")
    }
    assert [level for level, line in lines.items() if pattern[1] not in line] == [
        "WARNING",
        "ERROR",
    ]


def test_the_console_format_shows_the_fields() -> None:
    record = logging.makeLogRecord({"msg": "hi", "levelname": "INFO", "fields": {"route": "/x"}})
    assert logs.ConsoleFormatter().format(record).endswith("info    hi  route=/x")


def test_a_clients_path_cannot_write_a_console_line_of_its_own() -> None:
    record = logging.makeLogRecord({"msg": "GET %s", "args": ("/x\n12:00:00 error  \x1b[31mbad",)})
    assert "GET /x\\n12:00:00 error  \\x1b[31mbad" in logs.ConsoleFormatter().format(record)


def test_the_error_is_in_the_log_line_of_its_request(
    client: TestClient, lines: list[dict[str, object]]
) -> None:
    client.post("/detect", content=b"%PDF-1.7")
    (line,) = [line for line in lines if line["logger"] == "service.access"]
    assert (line["status"], line["problem"]) == (415, "unsupported-media-type")
    assert str(line["detail"]).startswith("this is PDF")


def test_a_broken_form_is_one_line_of_the_access_log(start_server: Any) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    with start_server() as server:
        before = len(server.complete_log().splitlines())
        answer = httpx.post(f"{server.url}/detect", content=b"--b\nx", headers=kind)
        assert answer.status_code == 400
        server.wait_until_idle()
        found = [json.loads(line) for line in server.complete_log().splitlines()[before:]]
    assert [each["logger"] for each in found] == ["service.access"]
    assert "the multipart body is broken" in found[0]["detail"]
