"""A file is written completely or not at all."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sfd.files import WriteError, open_regular, scratch, sha256, write_atomically


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(b"old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert [item.name for item in tmp_path.iterdir()] == ["out.onnx"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_decides_who_may_read_a_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "out.onnx", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.onnx").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_replaces_a_private_file_is_private_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    path.touch(mode=0o600)

    def parts() -> Iterator[bytes]:
        (temporary,) = set(tmp_path.iterdir()) - {path}
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        yield b"new"

    write_atomically(path, parts())
    assert path.read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(WriteError, match=r"can't write .*net.caffemodel: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.caffemodel"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"no/net.onnx: No such file or directory"):
        write_atomically(tmp_path / "no" / "net.onnx", b"")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "/dev/null"])
def test_a_device_or_a_pipe_is_refused_at_once(pipe: Path, name: str) -> None:
    with pytest.raises(OSError, match="it is a device or a pipe, not a file"):
        sha256(pipe.parent / name)


def test_a_name_that_is_too_long_is_explained(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="File name too long"):
        write_atomically(tmp_path / ("x" * 300), b"content")


@pytest.mark.parametrize("linked", [False, True])
def test_a_file_never_takes_the_place_of_a_pipe(pipe: Path, linked: bool) -> None:
    path = pipe
    if linked:
        path = pipe.with_name("link")
        path.symlink_to(pipe)
    with pytest.raises(WriteError, match="it is a device or a pipe, not a file"):
        write_atomically(path, b"content")
    assert pipe.is_fifo()
    assert set(pipe.parent.iterdir()) == {pipe, path}


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_file_that_is_printed_to_is_not_replaced(tmp_path: Path, stream: str) -> None:
    log = tmp_path / "build.log"
    program = (
        "from pathlib import Path\n"
        "from sfd.files import write_atomically\n"
        f"write_atomically(Path('/dev/{stream}'), b'content')\n"
    )
    with log.open("w") as file:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        streams[stream] = file
        done = subprocess.run([sys.executable, "-c", program], **streams)
    assert done.returncode == 1
    assert "goes there; name another file" in (done.stderr or b"").decode() + log.read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["build.log"]


def test_a_write_to_a_link_replaces_the_file_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    for content in (b"first", b"second"):
        write_atomically(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "folder" / "file").read_bytes() == content


def test_a_folder_is_refused_as_such(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_a_temporary_folder_is_removed_at_the_end() -> None:
    with scratch("test") as name:
        assert Path(name).is_dir()
    assert not Path(name).exists()


def test_without_a_temporary_folder_the_error_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(WriteError, match=r"\(No such file or directory\): set TMPDIR to a folder"):
        scratch("test")


def test_a_link_to_a_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    with open_regular(tmp_path / "b") as file:
        assert file.read() == b"content"
