"""Commands that are started without stdin, stdout or stderr."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = """
import json, os, sys
from sfd.streams import open_closed_streams
open_closed_streams()
print("\\udcff", flush=True)
print("\\udcff", file=sys.stderr, flush=True)
null = os.stat(os.devnull).st_rdev
found = {
    "null": [n for n in range(3) if os.fstat(n).st_rdev == null],
    "input": sys.stdin.read(),
    "inherited": [os.get_inheritable(n) for n in range(3)],
    "terminals": [each.isatty() for each in (sys.__stdin__, sys.__stdout__, sys.__stderr__)],
}
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


def in_shell(command: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run Python with arguments "$@" in a shell, which can close descriptors."""
    return subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, *arguments],
        input=b"given",
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("closed", "null"),
    [
        ("", []),
        ("<&-", [0]),
        (">&-", [1]),
        ("2>&-", [2]),
        ("<&- 2>&-", [0, 2]),
        ("<&- >&- 2>&-", [0, 1, 2]),
    ],
)
def test_a_closed_stream_becomes_the_null_device(
    tmp_path: Path, closed: str, null: list[int]
) -> None:
    file = tmp_path / "found.json"
    done = in_shell(
        f'PYTHONIOENCODING=:surrogateescape exec "$@" {closed}', "-c", REPORT, str(file)
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(file.read_text()) == {
        "null": null,
        "input": "" if 0 in null else "given",
        "inherited": [True] * 3,
        "terminals": [False] * 3,
    }


def test_a_command_without_stderr_still_fails_with_its_exit_code() -> None:
    done = in_shell('exec "$@" 2>&-', "-m", "sfd", "serve", "--nothing")
    assert (done.returncode, done.stdout) == (2, b"")
