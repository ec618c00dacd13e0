"""Fixtures for all tests: skipping, and the paths of the real models and photographs.

`SFD_REQUIRE_ALL=1` says that this machine has everything (`.ci/run` sets it). Then a test that
lacks something fails instead of being skipped.
"""

import builtins
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NoReturn

import httpx
import hypothesis
import pytest

from training.architecture.family import Architecture, Block, Extra, Head

# Machines are busy, so the time of an example means nothing.
hypothesis.settings.register_profile("patient", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("patient")

# A shell starts its background jobs with SIGINT ignored, and the commands under test inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixtures that several folders of tests use.
pytest_plugins = [
    "tests.cells", "tests.monitors", "tests.clusters", "tests.scheduling", "tests.servers",
]  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent
MODEL = "sfd-640-mobilenetv2-mod2"
FOR_TESTS = {
    "SFD_ENGINE", "SFD_FUZZ_SECONDS", "SFD_PIP_CONF", "SFD_REQUIRE_ALL", "SFD_SCREENSHOT",
    "SFD_SHARED", "SFD_SOAK_MINUTES",
}  # fmt: skip
"""Variables for the tests themselves; the others are settings of sfd."""


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Let all clients of httpx share what it needs for TLS.

    Otherwise each client, and so each `httpx.get`, reads the certificates of all authorities,
    which takes 0.06 s of processor time.
    """
    with pytest.MonkeyPatch.context() as patch:
        made = cache(httpx.create_ssl_context)
        patch.setattr("httpx._transports.default.create_ssl_context", made)
        yield


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """A function that denies access to what lies in a folder, also to root."""

    def deny(folder: Path) -> None:
        def denied(call: Callable[..., Any], *, itself: bool = False) -> Callable[..., Any]:
            def guarded(path: Any, *arguments: Any, **named: Any) -> Any:
                if isinstance(path, str | Path):
                    wanted = Path(path)
                    if folder in wanted.parents or (itself and folder == wanted):
                        raise PermissionError(13, "Permission denied", str(path))
                return call(path, *arguments, **named)

            return guarded

        monkeypatch.setattr(os, "stat", denied(os.stat))
        monkeypatch.setattr(os, "open", denied(os.open, itself=True))
        monkeypatch.setattr(os, "scandir", denied(os.scandir, itself=True))
        monkeypatch.setattr(builtins, "open", denied(builtins.open, itself=True))

    return deny


def pytest_configure() -> None:
    """Remove the SFD_ settings of the user's shell: a test sets what it needs.

    The programs that tests start may keep what they compile, so that the next start is faster.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in [name for name in os.environ if name.startswith("SFD_")]:
        if name not in FOR_TESTS:
            del os.environ[name]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped, by reason; a module skipped as a whole counts once."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    if reasons:
        terminalreporter.section("skipped, by reason")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:4} {reason}")


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """A function that skips the test, with a reason; with SFD_REQUIRE_ALL=1 it fails the test."""

    def end(reason: str) -> NoReturn:
        if os.environ.get("SFD_REQUIRE_ALL"):
            pytest.fail(f"{reason}, and SFD_REQUIRE_ALL is set")
        pytest.skip(reason)

    return end


@pytest.fixture(scope="session")
def shared(missing: Callable[[str], NoReturn]) -> Path:
    """The folder of real models and photographs next to the checkout (or at $SFD_SHARED).

    Only the project's own CI has it.
    """
    folder = Path(os.environ.get("SFD_SHARED", ROOT.parent / "shared"))
    if not (folder / "DESIGN.md").is_file():
        missing("the folder of real models and photographs (../shared) is not here")
    return folder


@pytest.fixture(scope="session")
def smallest() -> Architecture:
    """A network of the family that converts quickly."""
    return Architecture(
        height=64,
        width=64,
        stem=4,
        first_width=4,
        blocks=(Block(8, stride=2), Block(8)),
        last_width=8,
        extras=(Extra(4, 8),),
        heads=(Head("Conv_1", (8, 16)), Head("layer_19_2_2", (32,))),
        batch_norm=False,
        head_bias_stated=True,
    )


@pytest.fixture(scope="session")
def built_model() -> Path:
    """The default model's ONNX file, built as by `make run` if it does not exist yet."""
    path = ROOT / "model_store" / MODEL / "model.onnx"
    if not path.is_file():
        command = [sys.executable, "-m", "sfd", "models", "build", MODEL]
        subprocess.run(command, cwd=ROOT, check=True)
    return path


@pytest.fixture(scope="session")
def running_service(built_model: Path) -> Callable[..., AbstractContextManager[str]]:
    """Runs `sfd serve` with the default model on a free port; gives its address.

    `running_service(MAX_BYTES="1000")` sets SFD_MAX_BYTES.
    """
    return _running_service


@contextmanager
def _running_service(**settings: str) -> Iterator[str]:
    environment = os.environ | {"SFD_HOST": "127.0.0.1", "SFD_PORT": "0", "SFD_PROVIDER": "cpu"}
    # On a busy machine the predicted wait is long, and only tests of overload want refusals.
    environment["SFD_TARGET_WAIT_S"] = "30"
    environment |= {f"SFD_{name}": value for name, value in settings.items()}
    # A file, because a pipe that nobody reads would fill with log lines and block the service.
    with NamedTemporaryFile("r+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sfd", "serve"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log.fileno(),
        )
        try:
            yield _wait_until_ready(process, Path(log.name))
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        text = log.read_text()
        if process.poll() is not None:
            pytest.fail(f"the service stopped with exit code {process.returncode}:\n{text}")
        found = re.search(r'listening on (http://[^"\s]+)', text)
        if found and httpx.get(f"{found[1]}/readyz", timeout=30).status_code == 200:
            return found[1]
        time.sleep(0.1)
    pytest.fail(f"the service was not ready within two minutes:\n{log.read_text()}")
