"""The service that the examples ask, and OpenCV 5."""

import os
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
def opencv5(missing: Callable[[str], NoReturn]) -> Path:
    """A folder to import OpenCV 5 from: the environment of the tests has OpenCV 4.

    Kept in the folder for temporary files, so that a machine downloads it once.
    """
    cache = Path(tempfile.gettempdir()) / f"sfd-tests-{os.getuid()}-opencv-5"
    if not (cache / "cv2").is_dir():
        cache.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as own:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:",
                       "--target", own, "opencv-python-headless>=5,<6"]  # fmt: skip
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=300)
            except (subprocess.SubprocessError, OSError) as error:
                missing(f"OpenCV 5 cannot be downloaded: {error}")
            Path(own).rename(cache)
            Path(own).mkdir()  # for the context manager to remove
    return cache
