"""The console command: the module that runs, and the exit code of each outcome."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sfd import cli
from sfd.errors import SfdError, UsageError
from tests.conftest import ROOT

Work = Callable[[Namespace], None]
Install = Callable[[Work], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes the command `sfd work [--size N]` run a function."""

    def install_(work: Work) -> None:
        def add_arguments(parser: ArgumentParser) -> None:
            parser.add_argument("--size", type=int, default=1)

        module = SimpleNamespace(DESCRIPTION="Work.", add_arguments=add_arguments, run=work)
        monkeypatch.setitem(sys.modules, "the_tests_command", module)
        monkeypatch.setitem(cli.COMMANDS, "work", ("the_tests_command", "do some work"))

    return install_


def made_of(cause: BaseException) -> ImportError:
    error = ImportError("initialization failed")
    error.__cause__ = cause
    return error


def failing(error: BaseException) -> Work:
    def work(_: Namespace) -> None:
        raise error

    return work


def test_success_is_exit_code_0_and_the_command_gets_its_arguments(install: Install) -> None:
    sizes = []
    install(lambda arguments: sizes.append(arguments.size))
    assert cli.main(["work", "--size", "3"]) == 0
    assert cli.run_command("work", []) == 0
    assert sizes == [3, 1]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (SfdError("the disk is full; free some"), 1, "the disk is full; free some"),
        (UsageError("--a and --b exclude each other"), 2, "--a and --b exclude each other"),
        (KeyboardInterrupt(), 1, "interrupted"),
        (made_of(KeyboardInterrupt()), 1, "interrupted"),
        (
            ModuleNotFoundError("No module named 'scipy'", name="scipy"),
            1,
            "needs the Python package 'scipy'",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "sfd work: No space left on device\n",
        ),
        (OSError(errno.EIO, "Input/output error", "a"), 1, "sfd work: a: Input/output error\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a"),
            1,
            "sfd work: a: Permission denied\n",
        ),
        (OSError(errno.EROFS, "Read-only file system", "a"), 1, "a: Read-only file system\n"),
        (MemoryError("Unable to allocate 9 TiB"), 1, "not enough memory: Unable to allocate 9 TiB"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "work: Cannot allocate memory\n"),
        (MemoryError(), 1, "sfd work: not enough memory\n"),
        (OSError(errno.EBADF, "Bad file descriptor"), 1, "Bad file descriptor (a bug: "),
        (
            ValueError("two\nlines"),
            1,
            "unexpected ValueError: two lines (a bug: run again with --debug",
        ),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_its_exit_code(
    install: Install,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    says: str,
) -> None:
    install(failing(error))
    assert cli.main(["work"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("sfd work: ")
    assert says in printed.err
    assert printed.err.count("\n") == 1


def test_a_reader_that_closes_the_pipe_ends_the_command_silently(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(failing(BrokenPipeError()))
    assert cli.main(["work"]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [(SfdError("x"), 1), (UsageError("x"), 2), (ValueError("x"), 1), (ModuleNotFoundError("x"), 1)],
)
def test_debug_adds_the_traceback(
    install: Install, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    install(failing(error))
    assert cli.main(["work", "--debug"]) == code
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback (most recent call last):")
    assert printed.splitlines()[-1].startswith("sfd work: ")
    assert "run again" not in printed


def test_a_command_names_a_missing_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "work", ("no_such_package_at_all", "do some work"))
    assert cli.main(["work"]) == 1
    assert "needs the Python package 'no_such_package_at_all'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["dance"], ["work", "--size", "big"], ["work", "-x"]])
def test_wrong_usage_is_exit_code_2(install: Install, arguments: list[str]) -> None:
    install(failing(AssertionError("must not run")))
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2


def test_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, (_, summary) in cli.COMMANDS.items():
        assert (f"{name} {summary}" in words) == (" " not in name)


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if " " in name])
def test_help_of_a_command_lists_its_subcommand_with_its_summary(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, subcommand = name.split()
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    assert f"{subcommand} {cli.COMMANDS[name][1]}" in words


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_each_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*name.split(), "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: sfd {name}")


@pytest.mark.parametrize(
    ("name", "never"),
    [
        ("convert", {"fastapi", "uvicorn", "prometheus_client", "torch"}),
        ("serve", {"onnx", "google.protobuf", "torch", "convert"}),
        (
            "models",
            {"fastapi", "uvicorn", "prometheus_client", "torch", "convert", "detection"},
        ),
    ],
)
def test_a_command_imports_only_what_it_needs(name: str, never: set[str]) -> None:
    program = (
        "import sys\n"
        "from sfd.cli import main\n"
        f"try: main([{name!r}, '--help'])\n"
        "except SystemExit: pass\n"
        f"print(sorted({never!r} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "raised", ["KeyboardInterrupt", "ImportError('initialization failed') from KeyboardInterrupt()"]
)
def test_an_interrupt_during_the_imports_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: str,
) -> None:
    """A library in C may turn the interrupt into an ImportError."""
    (tmp_path / "the_slow_command.py").write_text(f"raise {raised}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "work", ("the_slow_command", "do some work"))
    assert cli.main(["work"]) == 1
    assert capsys.readouterr().err == "sfd work: interrupted\n"


def start(folder: Path, *lines: str) -> "subprocess.Popen[str]":
    """Run the command of a module with these lines in a process of its own, in `folder`."""
    declared = ("DESCRIPTION = 'Work.'", "add_arguments = lambda parser: None")
    (folder / "work.py").write_text("\n".join((*declared, *lines)))
    program = (
        "import sys\n"
        "from sfd import cli\n"
        "cli.COMMANDS['work'] = ('work', '')\n"
        "sys.exit(cli.main(['work']))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_lets_a_command_clean_up(tmp_path: Path) -> None:
    run = (
        "import time\n"
        "from pathlib import Path\n"
        "def run(_):\n"
        "    half = Path('half-written')\n"
        "    try:\n"
        "        half.touch()\n"
        "        time.sleep(60)\n"
        "    finally: half.unlink()\n"
    )
    with start(tmp_path, run) as process:
        give_up = time.monotonic() + 30
        while not (tmp_path / "half-written").exists():
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert not (tmp_path / "half-written").exists()


POOL = """
with ThreadPoolExecutor(1) as pool:
    pool.submit(Event().wait)
    ready()
    sleep(60)
"""
ONCE = """
with suppress(SystemExit):
    ready()
    sleep(60)
sleep(60)
"""
AT_LAST = """
pool = ThreadPoolExecutor(1)
pool.submit(Event().wait)
with suppress(SystemExit):
    ready()
    sleep(60)
"""
ALWAYS = """
while True:
    with suppress(SystemExit):
        ready()
        sleep(60)
"""


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (POOL, 128 + signal.SIGTERM),
        (ONCE, 128 + signal.SIGTERM),
        (AT_LAST, 128 + signal.SIGTERM),
        (ALWAYS, -signal.SIGALRM),
    ],
    ids=["a thread is waited for", "swallowed once", "swallowed at the end", "always swallowed"],
)
def test_sigterm_ends_a_command_that_would_go_on(run: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sfd.cli as cli\ncli.AGAIN_S, cli.LAST_S = 1, 2\n"
        "cli.COMMANDS['work'] = ('work', '')\n"
    )
    (tmp_path / "work.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from contextlib import suppress\n"
        "from threading import Event\n"
        "from time import sleep\n"
        "DESCRIPTION = ''\n"
        "add_arguments = lambda parser: None\n"
        "ready = lambda: print('ready', flush=True)\n"
        "def run(_):\n" + textwrap.indent(run, "    ")
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with subprocess.Popen(
        [sys.executable, "-m", "sfd", "work"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(30) == code


def test_the_callers_sigterm_handler_is_restored(install: Install) -> None:
    before = signal.getsignal(signal.SIGTERM)
    during = []
    install(lambda _: during.append(signal.getsignal(signal.SIGTERM)))
    assert cli.main(["work"]) == 0
    assert during != [before]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_runs_in_a_thread_too(install: Install) -> None:
    codes = []
    install(lambda _: None)
    thread = threading.Thread(target=lambda: codes.append(cli.main(["work"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize("what", ["raises", "swallows"])
def test_sigterm_ends_the_command_also_in_the_import_of_a_library(
    what: str, tmp_path: Path
) -> None:
    """A library in C makes an ImportError of the handler's exit, or ignores it."""
    handled = "raise ImportError('initialization failed')" if what == "raises" else "pass"
    with start(
        tmp_path,
        "import os, signal",
        "run = lambda _: print('went on')",
        "try: os.kill(os.getpid(), signal.SIGTERM)",
        f"except SystemExit: {handled}",
    ) as process:
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 128 + signal.SIGTERM
