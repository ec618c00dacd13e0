from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detection.bulk.errors import BulkError
from detection.bulk.plan import TableFile
from detection.bulk.tables import ByteTable, describe, kind_of, names
from sfd.errors import UsageError

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a table with these columns; returns its path."""

    def make(file: str = "a.parquet", rows_in_group: int = 3, **columns: Any) -> str:
        pq.write_table(pa.table(columns), tmp_path / file, row_group_size=rows_in_group)
        return str(tmp_path / file)

    return make


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([b"1"]), "bytes"),
        (pa.array([b"1"], pa.large_binary()), "bytes"),
        (pa.array([b"1"], pa.binary(1)), "bytes"),
        (pa.array(["1"]), "paths"),
        (pa.array(["1"], pa.large_string()), "paths"),
        (pa.array(["1"]).dictionary_encode(), "paths"),
    ],
)
def test_a_column_has_bytes_or_paths(write: Write, values: Any, expected: str) -> None:
    assert kind_of([write(image=values)], "image", None) == expected


def test_a_field_of_a_struct_is_named_with_a_dot(write: Write) -> None:
    path = write(image=[{"bytes": b"1", "path": "a"}, {"bytes": None, "path": "b"}, None])
    assert kind_of([path], "image.bytes", None) == "bytes"
    assert kind_of([path], "image.path", None) == "paths"
    assert list(names([path], "image.path")) == ["a", "b"]
    table = ByteTable([TableFile(path, 3)], "image.bytes", "image.path")
    assert list(table.rows(0, 3)) == [("a", b"1"), ("b", None), (f"{path}#2", None)]


@pytest.mark.parametrize(
    ("column", "key", "says"),
    [
        ("nothing", None, "has no column 'nothing', only image, number, name"),
        ("image", None, "name a field of it, such as image.bytes or image.path"),
        ("image.size", None, "has no column 'image.size'"),
        ("number", None, "has int64, neither bytes nor paths"),
        ("image.bytes", "nothing", "has no column 'nothing'"),
        ("name", "number", "a path is its own key"),
    ],
)
def test_another_column_is_refused(
    write: Write, column: str, key: str | None, says: str
) -> None:  # fmt: skip
    path = write(image=[{"bytes": b"1", "path": "a"}], number=[1], name=["a"])
    with pytest.raises(UsageError, match=says):
        kind_of([path], column, key)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (["a"], r"b\.parquet: column 'image' has paths, but bytes in other files"),
        ([1], r"b\.parquet: column 'image' has int64, neither bytes nor paths"),
    ],
)
def test_every_file_must_have_a_column_of_the_same_kind(
    write: Write, image: list[Any], says: str
) -> None:
    one, other = write("a.parquet", image=[b"1"]), write("b.parquet", image=image)
    with pytest.raises(UsageError, match=says):
        describe([one, other], "image", None)
    with pytest.raises(UsageError, match=r"b\.parquet: has no column 'id', only image"):
        describe([other], "image", "id")


def test_every_file_must_have_a_column_of_names(write: Write) -> None:
    one, other = write("a.parquet", path=["a"]), write("b.parquet", path=[1])
    with pytest.raises(UsageError, match=r"b\.parquet: column 'path' has int64"):
        list(names([one, other], "path"))


def test_a_file_without_any_value_is_of_either_kind(write: Write) -> None:
    nulls = write("b.parquet", image=pa.nulls(2))
    assert list(names([write(image=["a"]), nulls], "image")) == ["a"]
    files, _ = describe([write(image=[b"1"]), nulls], "image", None)
    assert read(ByteTable(files, "image", None), 0, 3) == [b"1", None, None]


def test_the_first_file_with_values_tells_the_kind(write: Write) -> None:
    nulls, paths = write("a.parquet", image=pa.nulls(2)), write("b.parquet", image=["a"])
    assert kind_of([nulls, paths], "image", None) == "paths"
    with pytest.raises(UsageError, match=r"a\.parquet: column 'image' has only nulls"):
        kind_of([nulls], "image", None)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([b"1"]), pa.array(["a"])], ["image", "image"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="has more than one column 'image'"):
        kind_of([str(tmp_path / "a.parquet")], "image", None)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(BulkError, match=r"a\.parquet: cannot be read"):
        kind_of([str(tmp_path / "a.parquet")], "image", None)


def test_rows_without_a_path_are_left_out(write: Write) -> None:
    assert list(names([write(path=["a", None, "", "b"])], "path")) == ["a", "b"]


def content(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def read(table: ByteTable, start: int, count: int) -> list[bytes | None]:
    return [data for _, data in table.rows(start, count)]


@pytest.mark.parametrize("order", [range(10), range(9, -1, -1), [3, 4, 0, 9, 9, 1]])
@pytest.mark.parametrize("rows_in_group", [1, 3, 40, 100])
def test_shards_are_read_in_any_order_over_files_and_row_groups(
    write: Write, order: Sequence[int], rows_in_group: int
) -> None:
    rows = content(60)
    one = write("a.parquet", rows_in_group, image=rows[:37])
    other = write("b.parquet", rows_in_group, image=rows[37:])
    table = ByteTable([TableFile(one, 37), TableFile(other, 23)], "image", None)
    for shard in order:
        assert read(table, shard * 6, 6) == rows[shard * 6 : shard * 6 + 6]


def test_a_key_of_bytes_is_a_name(write: Write) -> None:
    path = write(image=[b"1", b"2"], key=[b"cam1/a.jpg", b"\xff.jpg"])
    table = ByteTable([TableFile(path, 2)], "image", "key")
    assert [key for key, _ in table.rows(0, 2)] == ["cam1/a.jpg", "\udcff.jpg"]


def test_a_row_without_a_key_is_named_by_its_file_and_number(write: Write) -> None:
    one = write("a.parquet", image=content(4), id=[7, None, 9, 9])
    other = write("b.parquet", image=content(2))
    table = ByteTable([TableFile(one, 4)], "image", "id")
    assert [key for key, _ in table.rows(0, 4)] == ["7", f"{one}#1", "9", "9"]
    table = ByteTable([TableFile(one, 4), TableFile(other, 2)], "image", None)
    assert [key for key, _ in table.rows(3, 3)] == [f"{one}#3", f"{other}#0", f"{other}#1"]


def test_a_table_that_has_changed_ends_the_job(write: Write) -> None:
    path = write(image=content(4))
    with pytest.raises(BulkError, match="has 4 rows, not 5 as at the first start"):
        read(ByteTable([TableFile(path, 5)], "image", None), 0, 5)


def test_other_contents_have_another_fingerprint(write: Write) -> None:
    files, before = describe([write(image=[b"a", b"b"])], "image", None)
    assert [file.rows for file in files] == [2]
    assert describe([write(image=[b"a", b"b"])], "image", None) == (files, before)
    assert describe([write(image=[b"a", b"c"])], "image", None) != (files, before)
