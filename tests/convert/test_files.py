"""A file is read within its limit."""

import os
from pathlib import Path

import pytest

from convert.caffe.diagnostics import CaffeError
from convert.files import read_bytes


def test_a_file_above_its_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(3 << 20))
    assert len(read_bytes(path, 3 << 20, "prototxt")) == 3 << 20
    with pytest.raises(CaffeError, match="larger than 2 MiB, so not a prototxt"):
        read_bytes(path, 2 << 20, "prototxt")


def test_a_file_that_can_not_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(CaffeError, match="can't read it: No such file or directory"):
        read_bytes(tmp_path / "none", 1, "prototxt")
    with pytest.raises(CaffeError, match="can't read it: Is a directory"):
        read_bytes(tmp_path, 1 << 30, "prototxt")


def test_a_device_or_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(CaffeError, match="can't read it: it is a device or a pipe"):
            read_bytes(path, 1 << 30, "prototxt")
