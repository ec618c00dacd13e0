"""The names of all pictures in order, on disk: 100 million of them need not fit into memory."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Self

import pyarrow as pa

from detection.bulk.errors import BulkError
from detection.bulk.names import from_bytes, to_bytes
from detection.bulk.reading import reason

_SCHEMA = pa.schema([pa.field("name", pa.binary(), nullable=False)])


@contextmanager
def explained() -> Iterator[None]:
    """Raise BulkError where a temporary file of the listing can't be written."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        raise BulkError(
            f"can't list the pictures in TMPDIR ({reason(error)}): set TMPDIR to a folder with "
            "enough space"
        ) from error


class SortedNames:
    """Names in the order of their bytes, each once. They lie in a temporary file of SQLite's.

    Close it to delete the file. `repeated` counts the names that were given more than once.
    """

    def __init__(self, names: Iterable[str]) -> None:
        # An empty name means a temporary database, which SQLite writes to disk and deletes.
        self._database = sqlite3.connect("", isolation_level=None)
        try:
            with explained():
                self._fill(names)
        except BaseException:
            self._database.close()
            raise

    def _fill(self, names: Iterable[str]) -> None:
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE names (name BLOB NOT NULL)")
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT INTO names VALUES (?)", ((to_bytes(name),) for name in names)
        )
        self._database.execute("COMMIT")
        digest = hashlib.sha256()
        self.count = 0
        for raw in self._sorted():
            digest.update(len(raw).to_bytes(4, "little") + raw)
            self.count += 1
        (given,) = self._database.execute("SELECT COUNT(*) FROM names").fetchone()
        self.repeated = given - self.count
        self.fingerprint = digest.hexdigest()
        """SHA-256 of all names."""

    def write(self, path: Path, shard_size: int) -> None:
        """Write them as an Arrow file with one record batch for each shard."""
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with explained(), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(
            sink, _SCHEMA, options=options
        ) as file:  # fmt: skip
            names = self._sorted()
            while batch := list(islice(names, min(shard_size, self.count))):
                file.write_batch(pa.record_batch([pa.array(batch, pa.binary())], schema=_SCHEMA))

    def close(self) -> None:
        """Delete the temporary file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sorted(self) -> Iterator[bytes]:
        rows = self._database.execute("SELECT name FROM names ORDER BY name")
        return (name for (name,), _ in groupby(rows))


class Listing:
    """The names of each shard, read from the file that `SortedNames.write` wrote.

    Raises BulkError if it is not that file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        with _whole():
            self._batches = pa.ipc.open_file(file)

    def names(self, shard: int) -> list[str]:
        """The names of one shard, in order."""
        with _whole():
            batch = self._batches.get_batch(shard)
            return [from_bytes(raw) for raw in batch.column(0).to_pylist()]


@contextmanager
def _whole() -> Iterator[None]:
    """Raise BulkError for a listing that something else has cut or changed."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BulkError(
            f"the listing can't be read or is broken ({reason(error)}): start again, and if that "
            "does not help, choose another --out"
        ) from error
