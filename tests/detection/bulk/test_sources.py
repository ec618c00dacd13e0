import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detection.bulk.errors import BulkError
from detection.bulk.names import beside
from detection.bulk.reading import read
from detection.bulk.sources import Source, find, names
from sfd.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "notes.txt", "deep/c.webp", "deep/more/d.tif"):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return tmp_path / "in"


def found(name: object, column: str | None = None) -> list[str]:
    return sorted(names(find(str(name), column, None)))


def table(file: Path, **columns: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)
    return file


def test_a_folder_means_all_pictures_below_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [f"{folder}/{name}" for name in ("a.png", "b.JPG", "deep/c.webp", "deep/more/d.tif")]
    assert found(folder) == expected
    monkeypatch.chdir(folder.parent)
    assert found("in/") == expected


def test_a_remote_folder_means_all_pictures_below_it() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("b.JPG", "a.png", "notes.txt", "deep/c.webp"):
        memory.pipe_file(f"/sources/{name}", b"x")
    assert found("memory://sources") == [
        "memory:///sources/a.png",
        "memory:///sources/b.JPG",
        "memory:///sources/deep/c.webp",
    ]


def test_an_archive_is_a_folder_of_pictures_and_of_tables(tmp_path: Path) -> None:
    inside = table(tmp_path / "paths.parquet", path=["a.png"])
    archive = tmp_path / "b.zip"
    with ZipFile(archive, "w") as file:
        file.writestr("deep/a.png", b"x")
        file.write(inside, "deep/paths.parquet")
    picture = f"zip://deep/a.png::{archive}"
    assert found(f"zip://deep::{archive}") == [picture]
    assert read(picture, 10) == b"x"
    assert found(f"zip://::{archive}") == [picture]
    for name in ("deep/paths.parquet", "deep", "deep/*.parquet"):
        source = find(f"zip://{name}::{archive}", "path", None)
        assert source.files == (f"zip://deep/paths.parquet::{archive}",)
        assert list(names(source)) == ["a.png"]
        assert beside(source.base, "a.png") == picture


def test_a_local_name_may_hold_colons(folder: Path, tmp_path: Path) -> None:
    other = folder.rename(tmp_path / "a::b")
    assert found(other)[0] == f"{other}/a.png"
    path = table(other / "a.parquet", path=["a.png"])
    assert found(path, "path") == ["a.png"]
    (other / "list.txt").write_text("a.png\n")
    assert found(other / "list.txt") == ["a.png"]


def test_a_folder_that_cannot_be_listed_ends_the_job(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    # The tests may run as root, who may list everything.
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(BulkError, match=r"deep/more: cannot be listed: Permission denied"):
        found(folder)


def test_pictures_of_a_folder_that_may_only_be_listed_are_not_left_out(
    folder: Path, close: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, scandir = found(folder), os.scandir
    close(folder / "deep")
    monkeypatch.setattr(os, "scandir", scandir)
    assert found(folder) == expected


def test_a_list_has_a_name_in_each_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"/a b.png\r\n\nmemory://x/c.png\nd/\xff.png")
    assert found(tmp_path / "list.txt") == ["/a b.png", "d/\udcff.png", "memory://x/c.png"]
    assert find(str(tmp_path / "list.txt"), None, None).base == str(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    (tmp_path / "list.txt").write_bytes(mark + b"a.png\n" + mark + b"b.png\n")
    assert found(tmp_path / "list.txt") == ["a.png", "\ufeffb.png"]


def test_a_remote_list_is_read(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/sources/list.txt", b"a.png\n")
    source = find("memory://sources/list.txt", None, None)
    assert list(names(source)) == ["a.png"]
    assert source.base == "memory://sources"


@pytest.mark.parametrize("content", [b"a.png\nb\0c\n", b"a.png\n" + b"x" * 70_000])
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UsageError, match="line 2 is no path; is it a list"):
        found(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("line", "says"), [("s3://bucket/a.png", "s3fs"), ("teapot://a.png", "teapot")]
)
def test_a_url_that_nothing_installed_reads_is_refused_before_the_start(
    tmp_path: Path, line: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    (tmp_path / "list.txt").write_text(f"a.png\n{line}\n")
    with pytest.raises(UsageError, match=says):
        found(tmp_path / "list.txt")


def test_tables_are_files_patterns_and_folders(tmp_path: Path) -> None:
    one = table(tmp_path / "t/a.parquet", path=["1.png", "2.png"])
    table(tmp_path / "t/deep/b.parquet", path=["3.png"])
    assert found(one, "path") == ["1.png", "2.png"]
    assert found(tmp_path / "t", "path") == ["1.png", "2.png", "3.png"]
    for name in (one, tmp_path / "t", tmp_path / "t/*.parquet"):
        assert find(str(name), "path", None).base == str(tmp_path / "t")
    assert found(tmp_path / "t/*.parquet", "path") == ["1.png", "2.png"]


@pytest.mark.parametrize("pattern", ["t/*/b.parquet", "t/[cd]*/b*", "t/**/b.parquet"])
def test_names_of_a_pattern_begin_before_its_first_wildcard(tmp_path: Path, pattern: str) -> None:
    table(tmp_path / "t/deep/b.parquet", path=["3.png"])
    source = find(str(tmp_path / pattern), "path", None)
    assert list(names(source)) == ["3.png"]
    assert source.base == str(tmp_path / "t")


def test_a_folder_with_wildcards_in_its_name_is_one(tmp_path: Path) -> None:
    one = table(tmp_path / "t[1]/a.parquet", path=["1.png"])
    assert find(str(one), "path", None).base == str(tmp_path / "t[1]")


def test_results_among_the_tables_are_left_out(tmp_path: Path) -> None:
    one = table(tmp_path / "t/a.parquet", path=["1.png"])
    two = table(tmp_path / "t/out-2/b.parquet", path=["2.png"])
    result = table(tmp_path / "t/out/results/part.parquet", path=["x.png"])
    (tmp_path / "link").symlink_to(tmp_path / "t")
    for name, out in (("t", "t/out"), ("t/**/*.parquet", "t/out"), ("t", "link/out/")):
        source = find(f"{tmp_path}/{name}", "path", None, f"{tmp_path}/{out}")
        assert source.files == (str(one), str(two))
    # A table that is named itself is meant.
    assert find(str(result), "path", None, f"{tmp_path}/t/out").files == (str(result),)


def test_remote_results_among_the_tables_are_left_out() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a.parquet", "out/results/part.parquet"):
        memory.makedirs(f"/among/{name}".rpartition("/")[0], exist_ok=True)
        with memory.open(f"/among/{name}", "wb") as file:
            pq.write_table(pa.table({"path": ["1.png"]}), file)
    source = find("memory://among", "path", None, "memory://among/out")
    assert source.files == ("memory:///among/a.parquet",)


def test_a_remote_table_is_read() -> None:
    memory = fsspec.filesystem("memory")
    memory.makedirs("/tables", exist_ok=True)
    with memory.open("/tables/a.parquet", "wb") as file:
        pq.write_table(pa.table({"path": ["1.png"], "image": [b"x"]}), file)
    assert found("memory://tables/a.parquet", "path") == ["1.png"]
    source = find("memory://tables/*.parquet", "image", "path")
    assert source == Source(
        "bytes",
        "memory://tables/*.parquet",
        "memory://tables",
        "image",
        "path",
        ("memory:///tables/a.parquet",),
    )


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("absent", None, "there is no such folder, list or table"),
        ("in/a.png", None, "is one picture; leave --bulk out"),
        ("zip://a.png::b.zip", None, "is one picture; name it in a list"),
        ("a.parquet", None, "is a table; name its column with --column NAME"),
        ("zip://a.parquet::b.zip", None, "is a table; name its column with --column NAME"),
        ("absent.parquet", "path", "there is no Parquet file"),
        ("in", "path", "there is no Parquet file"),
        ("teapot://x", None, "teapot"),
    ],
)
def test_another_source_is_refused(
    folder: Path, name: str, column: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    table(folder.parent / "a.parquet", path=["1.png"])
    with ZipFile("b.zip", "w") as archive:
        archive.write("in/a.png", "a.png")
        archive.write("a.parquet")
    with pytest.raises(UsageError, match=says):
        found(name, column)
