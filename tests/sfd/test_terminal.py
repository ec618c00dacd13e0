"""Text without escape characters."""

import subprocess
import sys
from pathlib import Path

import pytest

from sfd.terminal import printable, say

EVIL = "a\x1b[2J\x9bK\x07\r\u202eb"
HARMLESS = r"a\x1b[2J\x9bK\x07\r\u202eb"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本", "plain é 日本"),
        (EVIL, HARMLESS),
        ("a\nb\tc", r"a\nb\tc"),
        ("\udcff", "\udcff"),
        (Path("x\x1by"), r"x\x1by"),
    ],
)
def test_control_characters_are_escaped(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_said_text_keeps_its_lines_and_columns(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{EVIL}\tb\nc\udcff")
    say("bad\x1b", error=True)
    assert capsys.readouterr() == (f"{HARMLESS}\tb\nc\\udcff\n", "bad\\x1b\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["detect", f"{EVIL}.jpg"],
        ["detect", f"{EVIL}*.jpg"],
        ["detect", "a.jpg", f"--{EVIL}"],
        ["detect", "a.jpg", "--draw", f"{EVIL}.nothing"],
        ["convert", f"{EVIL}.prototxt", "weights.caffemodel", "-o", "out.onnx"],
        ["models", "show", EVIL],
        ["models", "list", "--store", EVIL],
        ["models", "pull", EVIL],
        [f"no{EVIL}"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]).encode("unicode_escape").decode(),
)
def test_no_command_prints_the_escape_characters_of_a_name(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "sfd", *arguments], capture_output=True, text=True)
    assert done.returncode
    shown = done.stdout + done.stderr
    assert shown.replace("\n", "").replace("\t", "").isprintable(), repr(shown)


def test_a_faceless_picture_with_an_evil_name_is_shown_without_escape_characters(
    tmp_path: Path, store: Path
) -> None:
    picture = tmp_path / "a\x1b[31m.bmp"
    picture.write_bytes(b"BM")
    done = subprocess.run(
        [sys.executable, "-m", "sfd", "detect", "--store", str(store), "--model", "cells",
         str(tmp_path)],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert r"a\x1b[31m.bmp: the BMP header is broken" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
