"""Creates a model folder in one step: fills it under a temporary name, then renames it."""

import dataclasses
import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomli_w
from pydantic import TypeAdapter

from store.model import MODEL_FILE, Description, ModelError, Source, folder_of


@contextmanager
def staged(store: Path, name: str) -> Iterator[Path]:
    """An empty folder that becomes `store/name` when the block ends. If it fails, it is deleted.

    It is in the store itself, because only a rename within one file system is atomic. Its parent's
    name starts with a dot, so that it is not taken for a model. Raises ModelError if the model
    already exists, or if the disk is full or not writable, also within the block.
    """
    target = folder_of(store, name)
    try:
        refuse_existing(target)
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", suffix=".tmp", dir=store) as around:
            folder = Path(around) / name
            folder.mkdir()
            yield folder
            refuse_existing(target)
            folder.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            refuse_existing(target)
        raise ModelError(f"{store}: {name} cannot be written: {_reason(error)}") from None


def refuse_existing(target: Path) -> None:
    """Raise ModelError if a model's folder already exists."""
    if target.exists() or target.is_symlink():
        raise ModelError(
            f"{target} exists already; choose another name, or delete it with "
            f"`sfd models remove {target.name}`"
        )


def write_description(description: Description, folder: Path) -> None:
    """Write `model.toml`. The extra fields of a subclass, such as a catalog entry, are left out."""
    plain = _shaped(description)
    text = tomli_w.dumps(
        TypeAdapter(Description).dump_python(plain, mode="json", exclude_none=True)
    )
    (folder / MODEL_FILE).write_text(text, encoding="utf-8")


def _shaped(description: Description) -> Description:
    fields = {f.name: getattr(description, f.name) for f in dataclasses.fields(Description)}
    fields["sources"] = {
        role: Source(file=source.file, sha256=source.sha256)
        for role, source in description.sources.items()
    }
    return Description(**fields)


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on that disk; free some and try again"
    return error.strerror or str(error)
