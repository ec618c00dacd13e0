import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import fsspec
import pytest
from fsspec.core import url_to_fs

from detection.bulk import reading
from detection.bulk.errors import BulkError
from detection.bulk.reading import read
from detection.errors import RequestError
from detection.sources import FileTooLarge, UnreadableFile


@pytest.fixture
def remote() -> Callable[[str, bytes], str]:
    """Writes a file into fsspec's file system in memory; returns its URL."""

    def write(name: str, content: bytes) -> str:
        fsspec.filesystem("memory").pipe_file(f"/reading/{name}", content)
        return f"memory://reading/{name}"

    return write


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read(str(tmp_path / "a"), 5) == b"12345"


def test_a_url_is_read_whole(remote: Callable[[str, bytes], str]) -> None:
    assert read(remote("a", b"12345"), 5) == b"12345"


def test_a_larger_file_is_an_error(
    tmp_path: Path, remote: Callable[[str, bytes], str]
) -> None:  # fmt: skip
    (tmp_path / "a").write_bytes(b"123456")
    for name in (str(tmp_path / "a"), remote("b", b"123456")):
        found = read(name, 5)
        assert isinstance(found, FileTooLarge)
        assert str(found) == "the file is larger than 5 bytes (SFD_MAX_BYTES)"


def test_a_file_without_an_end_is_not_read_to_the_end() -> None:
    found = read("/dev/zero", 5)
    assert isinstance(found, UnreadableFile)
    assert str(found) == "cannot be read: is not a regular file"


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(read(str(tmp_path / "pipe"), 5), UnreadableFile)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", "No such file or directory"),
        ("", "Is a directory"),
        ("a\0b", "embedded null byte"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, says: str) -> None:
    found = read(f"{tmp_path}/{name}", 5)
    assert isinstance(found, UnreadableFile)
    assert str(found) == f"cannot be read: {says}"


def test_an_absent_url_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAUSE_S", 1e9)
    found = read("memory://reading/absent", 5)
    assert str(found) == "cannot be read: No such file or directory"


def test_a_url_that_fails_for_a_moment_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAUSE_S", 0)
    # Nobody listens on port 1. The protocol needs no package beside fsspec.
    tried: list[float] = []
    monkeypatch.setattr("detection.bulk.reading.time.sleep", tried.append)
    found = read("ftp://127.0.0.1:1/a.png", 5)
    assert isinstance(found, UnreadableFile)
    assert len(tried) == reading.ATTEMPTS - 1


def test_a_missing_package_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(BulkError, match="s3fs"):
        read("s3://bucket/a.png", 5)


def test_an_archive_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.zip", "b.zip"):
        with ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("folder/1", name + "1")
            archive.writestr("2", name + "2")
    opened: list[str] = []

    def counted(url: str) -> tuple[Any, str]:
        opened.append(url)
        fs, path = url_to_fs(url)
        return fs, path

    monkeypatch.setattr(reading, "url_to_fs", counted)
    monkeypatch.setattr(reading, "PAUSE_S", 0)

    def content(name: str, archive: str) -> bytes | RequestError:
        return read(f"zip://{name}::{tmp_path}/{archive}", 10)

    assert content("folder/1", "a.zip") == b"a.zip1"
    assert content("2", "a.zip") == b"a.zip2"
    assert len(opened) == 1
    assert content("2", "b.zip") == b"b.zip2"
    assert isinstance(content("3", "b.zip"), UnreadableFile)
    assert len(opened) == 2
