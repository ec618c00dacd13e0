"""The memory of `sfd serve` is in huge pages where the system gives them on request."""

import os
import sys
from pathlib import Path

import httpx
import pytest

from sfd import cli, huge_pages
from tests.cells import NAME
from tests.pages import needs_huge_pages
from tests.servers import FIXED, run_server

Started = list[list[str]]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """On a system that gives huge pages on request: the programs that would be started."""
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "_GIVEN", tmp_path / "enabled")
    monkeypatch.setenv(huge_pages.VARIABLE, "")
    programs: Started = []
    monkeypatch.setattr(os, "execv", lambda path, argv: programs.append([path, *argv]))
    return programs


def test_the_same_program_is_started_again(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-I", "-m", "sfd", "serve", "--dry-run"])
    huge_pages.restart_with()
    python = sys.executable
    assert started == [[python, python, "-I", "-m", "sfd", "serve", "--dry-run"]]
    assert os.environ[huge_pages.VARIABLE] == "glibc.malloc.hugetlb=1"
    huge_pages.restart_with()
    assert len(started) == 1


def test_other_tunables_are_kept(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(huge_pages.VARIABLE, "glibc.malloc.arena_max=2")
    huge_pages.restart_with()
    expected = "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"
    assert os.environ[huge_pages.VARIABLE] == expected
    assert len(started) == 1


@pytest.mark.parametrize("tunables", ["glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=2"])
def test_what_the_user_has_set_wins(
    tunables: str, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(huge_pages.VARIABLE, tunables)
    huge_pages.restart_with()
    assert started == []
    assert os.environ[huge_pages.VARIABLE] == tunables


@pytest.mark.parametrize("given", ["[always] madvise never\n", "always madvise [never]\n", None])
def test_nothing_is_started_where_it_would_change_nothing(
    given: str | None, started: Started, tmp_path: Path
) -> None:
    enabled = tmp_path / "enabled"
    enabled.unlink() if given is None else enabled.write_text(given)
    huge_pages.restart_with()
    assert started == []


def test_the_command_runs_even_if_it_cannot_be_started_again(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str, argv: list[str]) -> None:
        raise PermissionError("not allowed here")

    monkeypatch.setattr(os, "execv", fails)
    huge_pages.restart_with()


@pytest.mark.parametrize(
    ("arguments", "starts"), [("serve", 1), ("detect", 1), ("evaluate", 1), ("models", 0)]
)
def test_commands_that_infer_ask(
    arguments: str, starts: int, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sfd", arguments, "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert len(started) == starts


def test_a_command_within_another_program_does_not_ask(started: Started) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    with pytest.raises(SystemExit):
        cli.run_command("serve", ["--help"])
    assert started == []


@needs_huge_pages
@pytest.mark.parametrize(
    ("set_by_user", "expected"), [("", True), ("glibc.malloc.hugetlb=0", False)]
)
def test_the_memory_of_the_service_is_in_huge_pages(
    set_by_user: str, expected: bool, store: Path, tmp_path: Path
) -> None:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": NAME, **FIXED}
    with run_server(tmp_path, environment | {huge_pages.VARIABLE: set_by_user}) as server:
        assert httpx.get(f"{server.url}/readyz", timeout=20).status_code == 200
        rollup = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    huge = int(rollup.partition("AnonHugePages:")[2].split()[0])
    assert (huge > 0) == expected
