"""Makes the environments of the servers, each from its hashed lock."""

import compileall
import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.servers.contenders import LOCKS, Contender
from sfd.errors import SfdError
from sfd.files import sha256

STAMP = ".lock-sha256"
"""The hash of the lock from which an environment was made, once it is complete."""


def python(contender: Contender) -> Path:
    """The interpreter that runs a contender. Raises SfdError if its environment must be made."""
    reason = lacking(contender)
    if reason is not None:
        raise SfdError(f"{contender.name}: {reason}; run `make benchmark-setup`")
    folder = contender.folder
    return Path(sys.executable) if folder is None else folder / "bin" / "python"


def lacking(contender: Contender) -> str | None:
    """Why a contender's environment cannot be used; None if it can."""
    if contender.folder is None or contender.lock is None:
        return None
    stamp = contender.folder / STAMP
    if not stamp.is_file():
        return "its environment is not made yet"
    if stamp.read_text("utf-8") != sha256(LOCKS / contender.lock):
        return "its environment was made from another lock"
    return None


def make(contenders: Iterable[Contender], say: Callable[[str], object] = print) -> None:
    """Make the environments that are missing or out of date. Raises SfdError if pip fails.

    Every package is compiled, so that no server compiles while its start is measured: pip does it
    in the environments that are made here, and `make` left it out in this one.
    """
    compileall.compile_dir(sysconfig.get_path("purelib"), quiet=2, workers=0)
    for contender in contenders:
        if lacking(contender) is None or contender.folder is None or contender.lock is None:
            continue
        say(f"installing {contender.title} from requirements/{contender.lock}")
        venv.create(contender.folder, clear=True, with_pip=True)
        lock = LOCKS / contender.lock
        options = ("--quiet", "--disable-pip-version-check", "--require-hashes")
        command = [
            str(contender.folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            *options,
            "-r",
            str(lock),
        ]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip()[-2000:]
            raise SfdError(f"{contender.title} cannot be installed from {lock}:\n{reason}")
        (contender.folder / STAMP).write_text(sha256(lock), "utf-8")


def versions(contender: Contender) -> dict[str, str]:
    """The versions of a contender's packages, and of its Python."""
    script = (
        "import importlib.metadata as m, json, platform, sys;"
        "print(json.dumps({'python': platform.python_version()}"
        " | {n: m.version(n) for n in sys.argv[1:]}))"
    )
    command = [str(python(contender)), "-c", script, *contender.packages]
    found: dict[str, str] = json.loads(subprocess.check_output(command, text=True))
    return found
