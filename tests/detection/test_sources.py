"""Which image files the arguments of `sfd detect` name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from detection.errors import RequestError
from detection.sources import Source, find, targets
from sfd.errors import SfdError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "notes.txt", "deep/c.webp"):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return tmp_path / "in"


def names(sources: list[Source]) -> list[str]:
    return [str(source.relative) for source in sources]


def test_a_folder_means_all_images_below_it(folder: Path) -> None:
    found = find([str(folder)])
    assert names(found) == ["a.png", "b.JPG", "deep/c.webp"]
    assert found[0].name == str(folder / "a.png")
    assert found[0].read(1) == b"x"


def test_images_that_may_not_be_read_are_not_left_out(
    folder: Path, close: Callable[[Path], None]
) -> None:
    close(folder / "deep")
    found = find([str(folder)])
    assert names(found) == ["a.png", "b.JPG", "deep"]
    failed = found[2].read(1)
    assert isinstance(failed, RequestError)
    assert str(failed) == "cannot be read: Permission denied"
    with pytest.raises(SfdError, match="deep: cannot be listed: Permission denied"):
        find([str(folder / "deep")])


def test_images_of_a_folder_that_may_only_be_listed_are_not_left_out(
    folder: Path, close: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir
    close(folder / "deep")
    monkeypatch.setattr(os, "scandir", scandir)
    assert names(find([str(folder)])) == ["a.png", "b.JPG", "deep/c.webp"]
    assert names(find([f"{folder}/deep/*"])) == ["c.webp"]


def test_a_pattern_means_the_files_that_match(folder: Path) -> None:
    assert names(find([f"{folder}/*.png"])) == ["a.png"]
    assert names(find([f"{folder}/**/*.webp"])) == ["c.webp"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "x[1].png").write_bytes(b"y")
    assert names(find([f"{folder}/x[1].png"])) == ["x[1].png"]


def test_arguments_keep_their_order(folder: Path) -> None:
    assert names(find([f"{folder}/b.JPG", "-", f"{folder}/a.png"])) == ["b.JPG", "stdin", "a.png"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-", "-"], "only once"),
        (["IN/deep/none"], "no image files"),
        (["IN/*.gif"], "no file matches"),
    ],
)
def test_a_source_that_matches_nothing_is_refused(
    folder: Path, arguments: list[str], says: str
) -> None:
    (folder / "deep" / "none").mkdir()
    with pytest.raises(UsageError, match=says):
        find([argument.replace("IN", str(folder)) for argument in arguments])


@pytest.mark.parametrize(
    ("out", "expected"),
    [("x.jpg", "x.jpg"), ("new", "new/a.png"), ("new/deep/x.webp", "new/deep/x.webp")],
)
def test_one_image_is_drawn_to_a_file_or_into_a_folder(
    folder: Path, tmp_path: Path, out: str, expected: str
) -> None:
    found = targets(find([f"{folder}/a.png"]), tmp_path / out, force=False)
    assert found == [tmp_path / expected]


def test_one_image_can_be_drawn_into_an_existing_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out.d").mkdir()
    found = targets(find([f"{folder}/a.png"]), tmp_path / "out.d", force=False)
    assert found == [tmp_path / "out.d" / "a.png"]


def test_pictures_of_a_folder_keep_their_subfolders(folder: Path, tmp_path: Path) -> None:
    found = targets(find([str(folder)]), tmp_path / "out", force=False)
    assert [str(target.relative_to(tmp_path / "out")) for target in found] == [
        "a.png", "b.png", "deep/c.png"
    ]  # fmt: skip


def test_a_name_that_is_too_long_fails_when_it_is_read(tmp_path: Path) -> None:
    (source,) = find(["x" * 300])
    problem = source.read(1)
    assert isinstance(problem, RequestError)
    assert "File name too long" in str(problem)
    with pytest.raises(UsageError, match="no file matches"):
        find(["x" * 300 + "*"])
    long = tmp_path / ("x" * 300 + ".png")
    assert targets([source], long, force=False) == [long]


def test_an_empty_name_is_not_the_current_folder() -> None:
    """As from a script's `sfd detect "$UNSET"`."""
    with pytest.raises(UsageError, match="is empty"):
        find([""])


def test_two_sources_with_one_target_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "a.gif").write_bytes(b"x")
    with pytest.raises(UsageError, match="same name"):
        targets(find([str(folder)]), tmp_path / "out", force=True)


def test_a_device_is_not_read_without_end() -> None:
    (device,) = find(["/dev/zero"])
    problem = device.read(1)
    assert isinstance(problem, RequestError)
    assert str(problem) == "is a device, not a file; use - for standard input"
