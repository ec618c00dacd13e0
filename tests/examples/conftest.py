"""The service for the examples, and OpenCV 5."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import pytest


@pytest.fixture(scope="session")
def service(running_service: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    with running_service() as address:
        yield address


@pytest.fixture(scope="session")
def grpc_service(running_service: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """The address of the service's gRPC."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running_service(GRPC_PORT=str(port)):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def opencv5(missing: Callable[[str], NoReturn]) -> Path:
    """A folder to import OpenCV 5 from: the environment of the tests has OpenCV 4.

    Kept in the folder for temporary files, so that a machine downloads it once.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"  # NumPy comes with it
    cache = Path(tempfile.gettempdir()) / f"sfd-tests-{os.getuid()}-opencv-5-python-{version}"
    packages = cache / "packages"
    if not packages.is_dir():
        cache.mkdir(exist_ok=True)
        # Other test processes may do the same: each installs a copy and renames it into place.
        with tempfile.TemporaryDirectory(dir=cache) as own:
            target = Path(own) / "packages"
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile",
                       "--only-binary", ":all:",
                       "--target", str(target), "opencv-python-headless>=5,<6"]  # fmt: skip
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=300)
            except (subprocess.SubprocessError, OSError):
                missing("pip cannot download OpenCV 5")
            with contextlib.suppress(OSError):  # another process was faster
                target.rename(packages)
    return packages
