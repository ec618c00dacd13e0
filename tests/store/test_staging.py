import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from store.model import Description, ModelError, load
from store.staging import staged, write_description


def test_a_folder_appears_only_when_the_block_ends(store: Path) -> None:
    with staged(store, "new") as folder:
        (folder / "file").touch()
        assert not (store / "new").exists()
        assert folder.name == "new"
    assert [path.name for path in store.iterdir()] == ["new"]
    assert (store / "new/file").exists()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, ValueError, SystemExit])
def test_a_block_that_fails_leaves_nothing(store: Path, raised: type[BaseException]) -> None:
    def fail() -> None:
        with staged(store, "new") as folder:
            (folder / "file").touch()
            raise raised

    with pytest.raises(raised):
        fail()
    assert list(store.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "no space left on that disk; free some and try again"),
        (errno.EDQUOT, "no space left on that disk; free some and try again"),
        (errno.EROFS, "Read-only file system"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_disk_errors_are_explained(store: Path, number: int, reason: str) -> None:
    with pytest.raises(ModelError, match=f"new cannot be written: {reason}"), staged(store, "new"):
        raise OSError(number, os.strerror(number))
    assert list(store.iterdir()) == []


def test_a_store_that_may_not_be_searched_is_explained(
    store: Path, close: Callable[[Path], None]
) -> None:
    close(store)
    with pytest.raises(ModelError, match="new cannot be written: Perm"), staged(store, "new"):
        pass


def test_a_model_created_in_the_meantime_is_kept(store: Path) -> None:
    def race() -> None:
        with staged(store, "new") as folder:
            (folder / "theirs").touch()
            (store / "new").mkdir()
            (store / "new/ours").touch()

    with pytest.raises(ModelError, match="exists already"):
        race()
    assert [path.name for path in (store / "new").iterdir()] == ["ours"]
    assert [path.name for path in store.iterdir()] == ["new"]


def test_a_dangling_link_is_not_replaced(store: Path) -> None:
    (store / "new").symlink_to("nowhere")
    with pytest.raises(ModelError, match="exists already"), staged(store, "new"):
        pass
    assert (store / "new").is_symlink()


def test_others_may_read_a_new_model(store: Path) -> None:
    with staged(store, "new"):
        pass
    assert (store / "new").stat().st_mode & 0o055 == 0o055 & ~_umask()


def test_a_description_is_read_as_it_was_written(store: Path, description: Description) -> None:
    folder = store / description.name
    folder.mkdir()
    write_description(description, folder)
    assert vars(load(folder)) == {**vars(description), "folder": folder}


def test_quotes_newlines_and_control_characters_survive(
    store: Path, description: Description
) -> None:
    folder = store / description.name
    folder.mkdir()
    odd = 'a "quoted" \\ line\nand\tanother \x01 é 🙂 \'\'\' """ x'
    write_description(Description(**{**vars(description), "origin": odd}), folder)
    assert load(folder).origin == odd


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
