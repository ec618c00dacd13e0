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

Started = list[tuple[list[str], str]]
SERVE = ["/venv/bin/python", "-I", "-m", "sfd", "serve", "--dry-run"]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """In `sfd serve --dry-run`, on a system that gives huge pages on request.

    Collects the programs that would be started, with the variable.
    """
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "_GIVEN", tmp_path / "enabled")
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    monkeypatch.setenv(huge_pages.VARIABLE, "")
    monkeypatch.setattr(sys, "orig_argv", SERVE)
    monkeypatch.setattr(sys, "argv", ["/site-packages/sfd/__main__.py", "serve", "--dry-run"])
    programs: Started = []

    def record(path: str, argv: list[str], environment: dict[str, str]) -> None:
        assert path == argv[0] == sys.executable
        programs.append((argv[1:], environment[huge_pages.VARIABLE]))

    monkeypatch.setattr(os, "execve", record)
    return programs


def test_the_same_program_is_started_again(started: Started) -> None:
    huge_pages.restart_to_ask()
    assert started == [(["-X", "sfd_restarted", *SERVE[1:]], "glibc.malloc.hugetlb=1")]


def test_it_is_not_started_a_third_time(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the variable was removed on the way, as from a program with file capabilities."""
    monkeypatch.setitem(sys._xoptions, "sfd_restarted", True)
    huge_pages.restart_to_ask()
    assert started == []


def test_other_tunables_are_kept(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(huge_pages.VARIABLE, "glibc.malloc.arena_max=2")
    huge_pages.restart_to_ask()
    [(_, value)] = started
    assert value == "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize("tunables", ["glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=2"])
def test_what_the_user_has_set_wins(
    tunables: str, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(huge_pages.VARIABLE, tunables)
    huge_pages.restart_to_ask()
    assert started == []
    assert huge_pages.asking(tunables) == tunables


@pytest.mark.parametrize(
    ("given", "library"),
    [
        ("[always] madvise never\n", "glibc 2.36"),
        ("always madvise [never]\n", "glibc 2.36"),
        (None, "glibc 2.36"),
        ("always [madvise] never\n", "glibc 2.34"),
        ("always [madvise] never\n", None),
    ],
)
def test_nothing_is_started_where_it_would_change_nothing(
    given: str | None,
    library: str | None,
    started: Started,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enabled = tmp_path / "enabled"
    enabled.unlink() if given is None else enabled.write_text(given)
    monkeypatch.setattr(os, "confstr", lambda name: library)
    huge_pages.restart_to_ask()
    assert started == []


@pytest.mark.parametrize(
    ("command_line", "argv", "starts"),
    [
        (["python", "-m", "service"], ["/site-packages/service/__main__.py"], 1),
        (["python", "{script}", "serve"], ["{script}", "serve"], 1),
        # A notebook's %run.
        (["python", "-m", "ipykernel_launcher", "-f", "a"], ["sfd", "detect", "a.jpg"], 0),
        # A program of its own that calls main().
        (["python", "launcher.py"], ["sfd", "serve"], 0),
        (["python", "{launcher}", "serve"], ["{launcher}", "serve"], 0),
        (["python", "-m", "launcher", "serve"], ["/launcher.py", "serve"], 0),
        (["python", "-c", "…", "serve"], ["-c", "serve"], 0),
        (["python", "-", "serve"], ["-", "serve"], 0),
        (["python", "{pipe}/sfd", "serve"], ["{pipe}/sfd", "serve"], 0),
    ],
)
def test_only_the_program_of_the_command_is_started_again(
    command_line: list[str],
    argv: list[str],
    starts: int,
    started: Started,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {
        "script": tmp_path / "sfd",
        "launcher": tmp_path / "launcher.py",
        "pipe": tmp_path / "a",
    }
    for name in ("script", "launcher"):
        names[name].write_text("")
    names["pipe"].mkdir()
    os.mkfifo(names["pipe"] / "sfd")
    monkeypatch.setattr(sys, "orig_argv", [each.format(**names) for each in command_line])
    monkeypatch.setattr(sys, "argv", [each.format(**names) for each in argv])
    huge_pages.restart_to_ask()
    assert len(started) == starts


def test_it_goes_on_if_it_cannot_be_started_again(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise PermissionError("not allowed here")

    monkeypatch.setattr(os, "execve", fails)
    huge_pages.restart_to_ask()
    assert os.environ[huge_pages.VARIABLE] == ""


@pytest.mark.parametrize(
    ("arguments", "starts"),
    [
        (["serve", "--wrong"], 1),
        (["evaluate", "--wrong"], 1),
        (["detect", "--bulk", "a", "--wrong"], 1),
        (["detect", "--wrong"], 0),
        (["models", "--wrong"], 0),
        (["serve", "--help"], 0),
        (["evaluate", "-h"], 0),
    ],
)
def test_commands_that_run_long_ask(
    arguments: list[str], starts: int, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "sfd", *arguments])
    monkeypatch.setattr(sys, "argv", ["sfd", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    assert len(started) == starts


def test_a_command_with_arguments_of_a_caller_does_not_ask(started: Started) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--wrong"])
    with pytest.raises(SystemExit):
        cli.run_command("serve", ["--wrong"])
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
