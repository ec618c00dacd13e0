"""The folder that a job writes to: local, or anywhere fsspec writes.

    DIR/plan.json                        what the job does; written after the listing
    DIR/listing-FINGERPRINT.arrow        the pictures' names; a table of bytes needs none
    DIR/results/part-SHARD-PLAN.parquet  one file for each finished shard

No file is ever seen half-written. Locally it gets its name when it is complete. An object store
shows an object only when it is complete. On another remote file system a stopped job may leave
half a file: it lacks Parquet's last bytes, so it does not count as finished.

Two jobs in one folder need no lock: they write the same rows under the same names, and the later
file replaces the earlier one whole.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fsspec.implementations.local import LocalFileSystem

from detection.bulk.errors import BulkError
from detection.bulk.names import file_system
from detection.bulk.reading import reason
from sfd.errors import UsageError
from sfd.files import WriteError, write_atomically

PLAN = "plan.json"
RESULTS = "results"
_PART = re.compile(r"part-(\d{8,})-([0-9a-f]{8})\.parquet")
_LISTING = re.compile(r"listing-[0-9a-f]{8}\.arrow")
_TEMPORARY = re.compile(
    rf"\.(?:plan\.json|{_LISTING.pattern}|{_PART.pattern.replace('(', '(?:')})\.[^.]+\.tmp"
)
_MAGIC = b"PAR1"
_TRIES = 3
_CHUNK = 1 << 20
_AT_ONCE = 500


class Output:
    """The folder of one job."""

    def __init__(self, name: str) -> None:
        try:
            self._fs, self._root = file_system(name)
        except (ImportError, ValueError) as error:
            raise UsageError(f"--out {name}: {reason(error)}") from None
        self.is_local = isinstance(self._fs, LocalFileSystem)
        self.name = self._root if self.is_local else name.rstrip("/")

    def read_plan(self) -> bytes | None:
        """The contents of the plan; None if there is none yet.

        Raises UsageError if there is none and the folder holds anything that is not ours.
        """
        with self._explained("can't read"):
            if self._fs.isfile(self._path(PLAN)):
                return bytes(self._fs.cat_file(self._path(PLAN)))
            is_file = self._fs.isfile(self._root)
        if is_file:
            raise UsageError(f"--out {self.name}: is a file; name a folder")
        for entry in self._entries(""):
            unfinished = _LISTING.fullmatch(entry) or _TEMPORARY.fullmatch(entry)
            if not (unfinished or (entry == RESULTS and not self._entries(RESULTS))):
                raise UsageError(
                    f"--out {self.name}: has {entry}, which is not of a bulk job; choose a new or "
                    "empty folder"
                )
        return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the folder, complete or not at all. Raises BulkError."""
        if self.is_local:
            self._write_local(name, lambda: iter([content]))
            return
        with self._explained(f"can't write {name} to"):
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(self._path(name), content)

    def write_copy(self, name: str, source: Path) -> None:
        """Write a file of the folder as a copy of a local file. Raises BulkError."""
        if self.is_local:
            self._write_local(name, lambda: _chunks(source))
            return
        with self._explained(f"can't write {name} to"):
            self._fs.makedirs(self._root, exist_ok=True)
            self._fs.put_file(str(source), self._path(name))

    def _write_local(self, name: str, content: Callable[[], Iterator[bytes]]) -> None:
        path = Path(self._path(name))
        for attempt in range(_TRIES):
            with self._explained(f"can't write {name} to"):
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write_atomically(path, content())
            except WriteError as error:
                # Another job that starts in this folder deletes what looks like a killed job's.
                if isinstance(error.__cause__, FileNotFoundError) and attempt < _TRIES - 1:
                    continue
                raise BulkError(str(error)) from error
            return

    def open(self, name: str) -> IO[bytes]:
        """Open a file of the folder for reading."""
        with self._explained(f"can't read {name} of"):
            file: IO[bytes] = self._fs.open(self._path(name), "rb")
        return file

    def has(self, name: str) -> bool:
        """Whether there is a file of this name now."""
        self._fs.invalidate_cache()
        with self._explained("can't read"):
            return bool(self._fs.isfile(self._path(name)))

    def clean(self, listing: str) -> None:
        """Delete what jobs that were killed have left: temporary files, and other listings.

        Raises BulkError.
        """
        left = [
            entry
            for entry in self._entries("")
            if _TEMPORARY.fullmatch(entry) or (_LISTING.fullmatch(entry) and entry != listing)
        ]
        left += [f"{RESULTS}/{entry}" for entry in self._entries(RESULTS)
                 if _TEMPORARY.fullmatch(entry)]  # fmt: skip
        for name in left:
            # Another job may delete it at the same time.
            with self._explained(f"can't delete {name} of"), suppress(FileNotFoundError):
                self._fs.rm_file(self._path(name))

    def finished(self, plan_id: str, shards: int) -> bytearray:
        """For each shard, 1 if its file is there and whole, else 0.

        Raises UsageError for a file that is not of this plan.
        """
        self._fs.invalidate_cache()
        done = bytearray(shards)
        for entry in self._entries(RESULTS):
            part = _PART.fullmatch(entry)
            if part and part[2] == plan_id[:8] and int(part[1]) < shards:
                done[int(part[1])] = 1
            elif not _TEMPORARY.fullmatch(entry):
                raise UsageError(
                    f"{self.name}/{RESULTS}: has {entry}, which is not of this job; move it away"
                )
        if not self.is_local:
            self._leave_out_halves(plan_id, done)
        return done

    def _leave_out_halves(self, plan_id: str, done: bytearray) -> None:
        """Clear the flag of each file that lacks Parquet's last bytes."""
        present = [shard for shard, there in enumerate(done) if there]
        for start in range(0, len(present), _AT_ONCE):
            shards = present[start : start + _AT_ONCE]
            paths = [self._path(part_name(shard, plan_id)) for shard in shards]
            with self._explained("can't read"):
                ends = self._fs.cat_ranges(paths, -len(_MAGIC), None, on_error="return")
            for shard, end in zip(shards, ends, strict=True):
                done[shard] = end == _MAGIC

    def _entries(self, folder: str) -> list[str]:
        found: list[str] = []
        with self._explained("can't list"), suppress(FileNotFoundError):
            found = self._fs.ls(self._path(folder), detail=False)
        own = self._path(folder).strip("/")
        # An object store may list the folder itself.
        return sorted(
            path.rstrip("/").rpartition("/")[2] for path in found if path.strip("/") != own
        )

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Raise BulkError for any exception: each file system has exceptions of its own."""
        try:
            yield
        except Exception as error:
            raise BulkError(f"{what} {self.name}: {reason(error)}") from error


def part_name(shard: int, plan_id: str) -> str:
    """The file of a shard, relative to the folder."""
    return f"{RESULTS}/part-{shard:08d}-{plan_id[:8]}.parquet"


def listing_name(fingerprint: str) -> str:
    """The file of the listing, relative to the folder."""
    return f"listing-{fingerprint[:8]}.arrow"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
