from pathlib import Path

import pytest

from detection.bulk.names import (
    absolute,
    beside,
    from_bytes,
    is_url,
    parent,
    protocols,
    readable,
    to_bytes,
)


@pytest.mark.parametrize("raw", [b"a.png", "ü.png".encode(), b"\xff\xfe.png"])
def test_a_name_keeps_its_bytes(raw: bytes) -> None:
    assert to_bytes(from_bytes(raw)) == raw


def test_a_byte_that_is_not_utf_8_is_written_as_an_escape() -> None:
    assert readable(from_bytes(b"a\xff.png")) == "a\\xff.png"
    assert readable("ü.png") == "ü.png"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", []),
        ("/a/b:c.png", []),
        ("std::vector.png", []),
        ("simplecache::s3://bucket/a.png", ["simplecache", "s3"]),
        ("s3://bucket/a.png", ["s3"]),
        ("zip://a.png::s3://bucket/b.zip", ["zip", "s3"]),
        ("zip://a.png::/data/b.zip", ["zip"]),
        ("/data/a::b/c.png", []),
    ],
)
def test_a_url_has_protocols(name: str, expected: list[str]) -> None:
    assert protocols(name) == expected
    assert is_url(name) == bool(expected)


@pytest.mark.parametrize(
    ("base", "name", "expected"),
    [
        ("/lists", "a/b.png", "/lists/a/b.png"),
        ("/lists", "/a.png", "/a.png"),
        ("/lists", "memory://a.png", "memory://a.png"),
        ("s3://bucket/lists", "a.png", "s3://bucket/lists/a.png"),
        ("zip://lists::/data/b.zip", "a.png", "zip://lists/a.png::/data/b.zip"),
        ("zip://::/data/b.zip", "a.png", "zip:///a.png::/data/b.zip"),
        ("/lists", "zip://a.png::b.zip", "zip://a.png::/lists/b.zip"),
        ("/lists", "zip://a.png::/data/b.zip", "zip://a.png::/data/b.zip"),
        ("/lists", "zip://a.png::s3://bucket/b.zip", "zip://a.png::s3://bucket/b.zip"),
        ("/lists", "zip://a.png::tar://b.zip::c.tar", "zip://a.png::tar://b.zip::/lists/c.tar"),
        ("/lists", "simplecache::s3://bucket/a.png", "simplecache::s3://bucket/a.png"),
    ],
)
def test_a_relative_name_lies_beside_its_list(base: str, name: str, expected: str) -> None:
    assert beside(base, name) == expected


def test_a_relative_path_of_an_archive_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("zip://::b.zip") == f"zip://::{tmp_path}/b.zip"
    assert absolute("b.zip") == f"{tmp_path}/b.zip"
    assert absolute("s3://bucket/b.zip") == "s3://bucket/b.zip"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/list.txt", "/"),
        ("/a::b/list.txt", "/a::b"),
        ("s3://bucket/list.txt", "s3://bucket"),
        ("zip://lists/list.txt::/data/b.zip", "zip://lists::/data/b.zip"),
        ("zip://list.txt::/data/b.zip", "zip://::/data/b.zip"),
        ("memory://list.txt", "memory://"),
    ],
)
def test_a_list_has_a_folder(name: str, expected: str) -> None:
    assert parent(name) == expected
