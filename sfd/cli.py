"""The console command `sfd`: runs a subcommand's module and turns errors into exit codes."""

import argparse
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import NoReturn, Protocol, cast

from sfd import collector, extras, huge_pages
from sfd.distribution import VERSION
from sfd.errors import SfdError
from sfd.process import is_whole_process
from sfd.search_path import put_current_folder_last
from sfd.streams import open_closed_streams
from sfd.terminal import Parser, say

COMMANDS = {
    "convert": ("convert.command", "turn a Caffe model into a verified ONNX file"),
    "import-tensorflow": (
        "convert.tensorflow.command",
        "write the weights of TensorFlow's SSD MobileNet-V2 as a caffemodel",
    ),
    "models": (
        "store.command",
        "list, show, verify, build, add, pull, quantize and remove the models of the store",
    ),
    "models quantize": (
        "quantization.command",
        "write an int8 file beside a model's float32 file, and measure it",
    ),
    "serve": (
        "service.command",
        "run the HTTP service, which answers POST /detect with face boxes",
    ),
    "detect": ("detection.command", "find the faces in image files, without a server"),
    "design": ("training.architecture.command", "write the prototxts of a detector to train"),
    "train": ("training.commands.train", "train a detector and write its caffemodel"),
    "prune": (
        "training.commands.prune",
        "set channels of a caffemodel to zero that no training picture activates",
    ),
    "evaluate": ("training.commands.evaluate", "measure a detector on labelled images"),
    "bench": ("benchmarks.command", "measure a model's speed in onnxruntime and in OpenCV"),
    "bench servers": (
        "benchmarks.servers.command",
        "compare the service with other servers of the same model",
    ),
}
"""The module and the summary of each command.

The module of `models quantize` stands above that of `models`, which therefore does not import it.
"""

ENDED = 128 + signal.SIGTERM
"""The exit code after SIGTERM."""
AGAIN_S = 10
"""Seconds after SIGTERM at which the command is made to exit again: something may have swallowed
the first exit, or it cleans up and waits for a thread that waits for a lock of this one."""
LAST_S = 30
"""Seconds after SIGTERM at which the system ends the process."""
_NO_BUGS = (
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG,
    errno.ENAMETOOLONG, errno.ELOOP,
    errno.EROFS, errno.ENOMEM,
)  # fmt: skip
"""Errors of the system that are no bugs: a full, broken or read-only disk, also when results are
printed into a file, a name that no file can have, and a lack of memory."""
_FORBIDDEN = (errno.EACCES, errno.EPERM)
"""No bug if the error names a file; otherwise nobody could tell what was not allowed."""


_received: list[int] = []
"""SIGTERM, once it has come. Appending is all that its handler does, as a second one may interrupt
the first."""


class Command(Protocol):
    """The functions that a subcommand's module defines."""

    DESCRIPTION: str

    def add_arguments(self, parser: Parser) -> None:
        """Declare the arguments of the subcommand."""

    def run(self, arguments: argparse.Namespace) -> None:
        """Do the work. Raises SfdError for a failure that the user can act on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sfd` with argv (default: the process's) and return its exit code: 0, 1 or 2.

    See `run_command` for what it may do to the process.
    """
    open_closed_streams()
    parser = Parser(
        prog="sfd",
        description="Face detectors trained in Caffe, converted to ONNX and served over HTTP.",
        epilog="`sfd COMMAND --help` explains a command and all its options.",
    )
    parser.add_argument("--version", action="version", version=f"sfd {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, summary) in COMMANDS.items():
        if " " not in name:
            commands.add_parser(name, help=summary, add_help=False)
    arguments, rest = parser.parse_known_args(argv)
    if argv is None and _runs_long(arguments.command, rest):
        huge_pages.restart_to_ask()
    return run_command(arguments.command, rest)


def _runs_long(name: str, argv: Sequence[str]) -> bool:
    """Whether a command runs a network so often that it is worth 0.1 s to start again."""
    if not {"-h", "--help"}.isdisjoint(argv):
        return False
    is_bulk = name == "detect" and any(each.startswith("--bulk") for each in argv)
    return name in ("serve", "evaluate") or is_bulk


def add_subcommands(
    name: str, actions: "argparse._SubParsersAction[argparse.ArgumentParser]"
) -> None:
    """List the subcommands of a command that have modules of their own, each with its summary.

    `run_command` imports the module of the one that is chosen, and gives it the arguments.
    """
    for command, (_, summary) in COMMANDS.items():
        if command.startswith(f"{name} "):
            action = command.removeprefix(f"{name} ")
            listed = actions.add_parser(action, help=summary, add_help=False)
            listed.set_defaults(subcommand=command)


def run_command(name: str, argv: Sequence[str] | None = None) -> int:
    """Run one subcommand with its own arguments (default: the process's); returns its exit code.

    Without `argv`, a command that runs long and is all that the process does may start the process
    again (`sfd.huge_pages`).

    Only the module of this subcommand is imported: `sfd serve` starts without the converter's
    libraries, and `sfd convert` without the web framework.
    """
    if argv is None and _runs_long(name, sys.argv[1:]):
        huge_pages.restart_to_ask()
    open_closed_streams()
    put_current_folder_last()
    with _ended_by_sigterm():
        return _run(name, argv)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM end the command as an error does, so that no half-written file is left behind.

    Without a handler, process 1 of a container would ignore the signal.
    """

    def end(*_: object) -> None:
        is_first = not _received
        _received.append(signal.SIGTERM)
        if is_first and is_whole_process():
            signal.signal(signal.SIGALRM, again)
            signal.alarm(AGAIN_S)
        sys.exit(ENDED)

    def again(*_: object) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LAST_S - AGAIN_S)
        sys.exit(ENDED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.clear()
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if _received and is_whole_process():
            _exit_without_threads()
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, before)


def _exit_without_threads() -> NoReturn:
    """Exit without waiting for other threads, once everything is cleaned up.

    SIGTERM may have come just when this thread took a lock of a pool of threads. Nobody releases
    it then, and those that wait for it never end. And the command may have ended in another way,
    because an exception in a callback of the garbage collector is only reported.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(ENDED)


def _run(name: str, argv: Sequence[str] | None, given: argparse.Namespace | None = None) -> int:
    """Run a command. `given` has the options that stood before the subcommand's name."""
    try:
        return _run_module(name, argv, given)
    except (KeyboardInterrupt, ImportError) as error:
        _exit_after_sigterm()
        if not _is_interrupt(error):
            raise
        _complain(f"sfd {name}", "interrupted")
        return 1


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether an error is an interrupt, or what a library in C made of one during its import."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _exit_after_sigterm() -> None:
    """Exit if SIGTERM has come. A library in C may make an error of the exit, or swallow it."""
    if _received:
        sys.exit(ENDED)


def _run_module(name: str, argv: Sequence[str] | None, given: argparse.Namespace | None) -> int:
    """Import a command's module, read its arguments and let it work."""
    module, _ = COMMANDS[name]
    prog = f"sfd {name}"
    try:
        with collector.paused():
            command = cast(Command, import_module(module))
        _exit_after_sigterm()
    except ModuleNotFoundError as error:
        _complain(prog, extras.lacking(name, error))
        return 1
    parser = Parser(
        prog=prog,
        description=command.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback if the command fails"
    )
    command.add_arguments(parser)
    arguments, rest = parser.parse_known_args(argv, given)
    subcommand = getattr(arguments, "subcommand", name)
    if subcommand != name:
        return _run(subcommand, rest, arguments)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        command.run(arguments)
    except BrokenPipeError:
        return 1
    except Exception as error:
        _exit_after_sigterm()
        if isinstance(error, ImportError) and _is_interrupt(error):
            raise
        if arguments.debug:
            traceback.print_exc()
        _complain(prog, _explanation(error, name, debug=arguments.debug))
        return error.exit_code if isinstance(error, SfdError) else 1
    return 0


def _explanation(error: Exception, name: str, *, debug: bool) -> str:
    """What to say when the command `name` failed."""
    if isinstance(error, SfdError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return extras.lacking(name, error)
    if isinstance(error, OSError) and (
        error.errno in _NO_BUGS or (error.errno in _FORBIDDEN and error.filename is not None)
    ):
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part is not None)
    if isinstance(error, MemoryError):
        return " ".join(f"not enough memory: {error}".removesuffix(": ").split())
    detail = " ".join(f"unexpected {type(error).__name__}: {error}".split())
    what_to_do = (
        "report the traceback" if debug else "run again with --debug and report the traceback"
    )
    return f"{detail} (a bug: {what_to_do})"


def _complain(prog: str, message: str) -> None:
    say(f"{prog}: {message}", error=True)


if __name__ == "__main__":
    sys.exit(main())
