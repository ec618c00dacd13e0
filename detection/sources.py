"""Finds the image files that a command reads, and the paths of the pictures that it writes."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.errors import RequestError
from detection.sizes import readable_bytes
from sfd.errors import SfdError, UsageError
from sfd.files import may_be_file

STDIN = "-"
ENDINGS = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"]
)
"""The endings of image files, for files found in a folder."""


class UnreadableFile(RequestError):
    """The file cannot be read."""

    status = 400
    slug = "unreadable-file"
    title = "Unreadable file"


class FileTooLarge(RequestError):
    """The file has more bytes than the limit."""

    status = 413
    slug = "file-too-large"
    title = "File too large"


def too_large(most: int) -> FileTooLarge:
    """The error of a file with more than `most` bytes."""
    return FileTooLarge(f"the file is larger than {readable_bytes(most)} (SFD_MAX_BYTES)")


@dataclass(frozen=True, slots=True)
class Source:
    """One image file."""

    name: str
    """The name to show: a path, or "-" for standard input."""
    relative: Path
    """The path relative to the named folder; the file name if the file itself was named."""

    def read(self, most: int) -> bytes | RequestError:
        """The bytes of the file, at most `most` of them, or an error that says why not.

        A pipe is read, too: shells make one for `<(curl …)`. A device is not: it can be endless.
        """
        try:
            if self.name != STDIN and (
                Path(self.name).is_char_device() or Path(self.name).is_block_device()
            ):
                return UnreadableFile("is a device, not a file; use - for standard input")
            if self.name == STDIN:
                data = sys.stdin.buffer.read(most + 1)
            else:
                with open(self.name, "rb") as file:
                    data = file.read(most + 1)
        except OSError as error:
            return UnreadableFile(f"cannot be read: {error.strerror or error}")
        return too_large(most) if len(data) > most else data


def find(arguments: Sequence[str]) -> list[Source]:
    """The named files in order: paths, folders with all files below, patterns, or "-".

    Raises UsageError for a folder or a pattern without image files, for an empty name, and for "-"
    given twice; SfdError for a folder that can't be listed. A missing file fails when it is read,
    and so does a folder below a named one that can't be listed.
    """
    if list(arguments).count(STDIN) > 1:
        raise UsageError("standard input (-) can be named only once")
    return [source for argument in arguments for source in _find(argument)]


def _find(argument: str) -> list[Source]:
    if not argument:
        raise UsageError("the name of an image is empty")
    path = Path(argument)
    if argument == STDIN:
        return [Source(STDIN, Path("stdin"))]
    # The functions of os.path: those of Path raise OSError for a name that is too long.
    if os.path.isdir(path):
        found = sorted(_below(path))
        if not found:
            raise UsageError(f"{argument}: the folder has no image files")
        return [Source(str(file), file.relative_to(path)) for file in found]
    if glob.has_magic(argument) and not os.path.exists(path):
        found = sorted(Path(name) for name in glob.glob(argument, recursive=True))
        files = [file for file in found if may_be_file(file)]
        if not files:
            raise UsageError(f"{argument}: no file matches this pattern")
        return [Source(str(file), Path(file.name)) for file in files]
    return [Source(argument, Path(path.name))]


def _below(folder: Path) -> Iterator[Path]:
    """The image files below a folder, and each folder in it that can't be listed.

    Such a folder fails when it is read, so that its images are not left out in silence. Raises
    SfdError if the folder itself can't be listed.
    """
    closed: list[OSError] = []
    for name, _, files in os.walk(folder, onerror=closed.append):
        for file in files:
            path = Path(name, file)
            if path.suffix.lower() in ENDINGS and may_be_file(path):
                yield path
    for error in closed:
        path = Path(error.filename)
        if path == folder:
            raise SfdError(f"{folder}: cannot be listed: {error.strerror}")
        yield path


def targets(sources: Sequence[Source], out: Path, *, force: bool) -> list[Path]:
    """The output path for each source: `out` itself, or PNG files below the folder `out`.

    `out` is a folder if it is one, if it has no ending, or if there are several sources. Raises
    UsageError if a file exists already and `force` is not set, and if two sources have the same
    target.
    """
    if os.path.isfile(out) and len(sources) > 1:
        raise UsageError(f"--draw {out}: is a file; several images need a folder")
    if len(sources) > 1 and not os.path.isdir(out) and out.suffix.lower() in ENDINGS:
        raise UsageError(f"--draw {out}: names a picture; several images need a folder")
    if len(sources) == 1 and not os.path.isdir(out) and out.suffix:
        found = [out]
    else:
        found = [out / source.relative.with_suffix(".png") for source in sources]
    if len(set(found)) < len(found):
        raise UsageError("--draw: two images have the same name; draw them one by one")
    there = [target for target in found if os.path.exists(target)]
    if there and not force:
        more = f", and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(
            f"--draw: {there[0]} already exists{more}; choose another path, or add --force to "
            "overwrite"
        )
    return found
