"""The service follows its OpenAPI document: each answer is one that the document describes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)
"""All checks except those of accepted and rejected data: no schema can say which bytes are an
image."""


def check_contract(url: str, folder: Path, *options: str) -> None:
    """Check a running service against its document; AssertionError shows what differs."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{url}/openapi.json",
            "--checks=" + ",".join(CHECKS),
            "--seed=1",
            "--continue-on-failure",
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("keys", "compat", "options"),
    [
        # The other service has all endpoints of this one, and gets all phases.
        ("", "", ("--phases=examples,fuzzing", "--max-examples=10")),
        ("a-good-long-key", "deepstack,compreface", ("--max-examples=50",)),
    ],
    ids=["open", "with an API key and other products' APIs"],
)
def test_schemathesis_finds_no_server_error_and_nothing_undocumented(
    start_server: Any, keys: str, compat: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    with start_server(API_KEYS=keys, COMPAT=compat) as server:
        header = [f"--header=X-API-Key: {keys}"] if keys else []
        check_contract(server.url, tmp_path, *options, *header)
        assert "Traceback" not in server.complete_log()
