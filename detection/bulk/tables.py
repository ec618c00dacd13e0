"""Parquet tables whose rows are pictures: a column of names, or a column of bytes."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detection.bulk.errors import BulkError
from detection.bulk.names import file_system, from_bytes
from detection.bulk.plan import Kind, TableFile
from detection.bulk.reading import reason
from sfd.errors import SfdError, UsageError

_BUFFER = 1 << 20
_NAMES_AT_ONCE = 65_536
_PICTURES_AT_ONCE = 16


@contextmanager
def opened(name: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file, from a path or a URL. Raises BulkError if it can't be read."""
    try:
        fs, path = file_system(name)
        # Without a buffer, pyarrow reads a column of a whole row group into memory.
        with fs.open(path, "rb") as raw, pq.ParquetFile(raw, buffer_size=_BUFFER) as file:
            yield file
    except SfdError:
        raise
    except Exception as error:
        # Each file system has exceptions of its own, beside those of Arrow.
        raise BulkError(f"{name}: cannot be read: {reason(error)}") from error


def kind_of(files: Sequence[str], column: str, key: str | None) -> Kind:
    """Whether a table's column has names or bytes. Raises UsageError for any other column.

    A column of nulls alone, which pandas writes without a type, is of either kind, so the first
    file with others decides.
    """
    for name in files:
        with opened(name) as file:
            schema = file.schema_arrow
        _check_columns(schema, name, column, key)
        if not pa.types.is_null(_type(schema, column)):
            kind = _kind(schema, name, column)
            if kind == "paths" and key is not None:
                raise UsageError(f"--key {key}: only for a column of bytes; a path is its own key")
            return kind
    raise UsageError(f"{files[0]}: column {column!r} has only nulls")


def _check_columns(schema: pa.Schema, name: str, column: str, key: str | None) -> None:
    """Raise UsageError for a column that a file has not, or more than once."""
    for wanted in (column, key):
        if wanted is None:
            continue
        if schema.names.count(wanted) > 1:
            raise UsageError(f"{name}: has more than one column {wanted!r}")
        if _type(schema, wanted) is None:
            raise UsageError(f"{name}: has no column {wanted!r}, only {', '.join(schema.names)}")


def _kind(schema: pa.Schema, name: str, column: str) -> Kind:
    found = _type(schema, column)
    if _is_binary(found):
        return "bytes"
    if _is_text(found):
        return "paths"
    more = ""
    if pa.types.is_struct(found):
        more = "; name a field of it, such as " + " or ".join(
            f"{column}.{field.name}" for field in found
        )
    raise UsageError(f"{name}: column {column!r} has {found}, neither bytes nor paths{more}")


def _check(file: pq.ParquetFile, name: str, column: str, key: str | None, kind: Kind) -> None:
    """Raise UsageError if the column of a file is not of the kind of the others'."""
    schema = file.schema_arrow
    _check_columns(schema, name, column, key)
    if pa.types.is_null(_type(schema, column)):
        return
    found = _kind(schema, name, column)
    if found != kind:
        raise UsageError(f"{name}: column {column!r} has {found}, but {kind} in other files")


def names(files: Sequence[str], column: str) -> Iterator[str]:
    """The names in a column of text, of all files. Rows without one are left out.

    Raises UsageError for a file whose column has no text.
    """
    for name in files:
        with opened(name) as file:
            _check(file, name, column, None, "paths")
            for batch in file.iter_batches(_NAMES_AT_ONCE, columns=[column]):
                yield from filter(None, pc.cast(_leaf(batch, column), pa.string()).to_pylist())


def describe(
    files: Sequence[str], column: str, key: str | None
) -> tuple[tuple[TableFile, ...], str]:
    """The files of a table of bytes with their numbers of rows, and a hash of their footers.

    A footer has the place, size and statistics of each column, so other contents nearly always
    change it. The contents themselves may be terabytes. Raises UsageError for a file that lacks a
    column, or whose column has no bytes.
    """
    found, digest = [], hashlib.sha256()
    for name in files:
        with opened(name) as file:
            _check(file, name, column, key, "bytes")
            sink = pa.BufferOutputStream()
            file.metadata.write_metadata_file(sink)
            digest.update(sink.getvalue())
            found.append(TableFile(name, file.metadata.num_rows))
    return tuple(found), digest.hexdigest()


class ByteTable:
    """Reads the pictures of a table of bytes in order.

    Rows that follow those read before are read on. Others are read from the start of their row
    group, since Parquet can't be entered elsewhere.
    """

    def __init__(self, files: Sequence[TableFile], column: str, key: str | None) -> None:
        self._files = files
        self._column = column
        self._key = key
        self._starts = list(accumulate((file.rows for file in files), initial=0))
        self._stream: Iterator[tuple[str, bytes | None]] = iter(())
        self._position = -1

    def rows(self, start: int, count: int) -> Iterator[tuple[str, bytes | None]]:
        """The key and the bytes of `count` rows; None for a row without bytes.

        Raises BulkError if a file can't be read or has changed.
        """
        if start != self._position:
            self._stream = self._from(start)
            self._position = start
        for _ in range(count):
            found = next(self._stream, None)
            if found is None:
                raise BulkError(f"{self._files[-1].name}: has fewer rows than at the first start")
            self._position += 1
            yield found

    def _from(self, start: int) -> Iterator[tuple[str, bytes | None]]:
        """Every row from number `start` on, counted over all files."""
        for index in range(bisect_right(self._starts, start) - 1, len(self._files)):
            file, first = self._files[index], self._starts[index]
            with opened(file.name) as parquet:
                if parquet.metadata.num_rows != file.rows:
                    raise BulkError(
                        f"{file.name}: has {parquet.metadata.num_rows} rows, not {file.rows} as "
                        "at the first start; choose another --out"
                    )
                yield from self._rows(parquet, file.name, max(0, start - first))

    def _rows(
        self, parquet: pq.ParquetFile, name: str, start: int
    ) -> Iterator[tuple[str, bytes | None]]:
        sizes = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
        ends = list(accumulate(sizes, initial=0))
        first = bisect_right(ends, start) - 1
        row, groups = ends[first], range(first, len(sizes))
        columns = [self._column] if self._key is None else [self._column, self._key]
        for batch in parquet.iter_batches(
            _PICTURES_AT_ONCE, row_groups=list(groups), columns=columns
        ):
            skipped = min(max(0, start - row), batch.num_rows)
            row += skipped
            part = batch.slice(skipped)
            contents = _leaf(part, self._column)
            keys = None if self._key is None else _leaf(part, self._key)
            for index in range(part.num_rows):
                key = None if keys is None else keys[index].as_py()
                yield f"{name}#{row}" if key is None else _text(key), contents[index].as_py()
                row += 1


def _text(key: object) -> str:
    """A key as a name."""
    return from_bytes(key) if isinstance(key, bytes) else str(key)


def _leaf(batch: pa.RecordBatch, column: str) -> Any:
    """A column, or a field of a column of structs by its name with a dot."""
    if column in batch.schema.names:
        return batch.column(column)
    top, *below = column.split(".")
    return pc.struct_field(batch.column(top), below)


def _type(schema: pa.Schema, column: str) -> Any:
    """The type of a column as in `_leaf`; None if there is none."""
    if column in schema.names:
        return schema.field(column).type
    top, *below = column.split(".")
    found: Any = schema.field(top).type if top in schema.names and below else None
    for name in below:
        if not (pa.types.is_struct(found) and found.get_field_index(name) >= 0):
            return None
        found = found.field(name).type
    return found


def _is_binary(found: Any) -> bool:
    kinds = pa.types
    return bool(
        kinds.is_binary(found)
        or kinds.is_large_binary(found)
        or kinds.is_binary_view(found)
        or kinds.is_fixed_size_binary(found)
    )


def _is_text(found: Any) -> bool:
    kinds = pa.types
    if kinds.is_dictionary(found):
        return _is_text(found.value_type)
    return bool(
        kinds.is_string(found) or kinds.is_large_string(found) or kinds.is_string_view(found)
    )
