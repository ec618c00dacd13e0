"""Where models are searched: one store or several. New models go into the first.

`--store DIR` or else `$SFD_MODEL_STORE` names the only store. Without them, a checkout uses
`./model_store`, or its own `model_store` if that does not exist. An installed sfd has no checkout.
It searches `./model_store`, the user's data folder and the models that came with the package, in
this order. If two models have the same name, the first one is used.
"""

import os
from pathlib import Path

from sfd.distribution import CHECKOUT, HOME
from sfd.files import may_be_file
from store.model import MODEL_FILE, ModelError, find, folder_of

ENVIRONMENT = "SFD_MODEL_STORE"
FOLDER = "model_store"
PACKAGED = HOME / "sfd" / FOLDER
"""The models of an installed package: read-only, and absent in a checkout."""


def stores(chosen: Path | None = None) -> tuple[Path, ...]:
    """The stores to search, in order. New models go into the first, which may not exist yet.

    `chosen` is the user's own choice (`--store`).
    """
    if chosen is None and (setting := os.environ.get(ENVIRONMENT)):
        chosen = Path(setting)
    if chosen is not None:
        return (chosen,)
    here = Path(FOLDER)
    if CHECKOUT is not None:
        return (here if here.is_dir() else CHECKOUT / FOLDER,)
    return (*([here] if here.is_dir() else []), user_store(), PACKAGED)


def store_for(name: str, chosen: Path | None = None) -> Path:
    """The store for a new model of this name: the first one.

    Raises ModelError if the name is invalid, or if a later store has a model of this name, which
    the new model would hide.
    """
    first, *others = stores(chosen)
    for store in others:
        folder = folder_of(store, name)
        if folder.exists():
            raise ModelError(f"{folder} exists already; choose another name")
    return first


def user_store() -> Path:
    """The store in the user's data folder. An installed sfd adds models to it."""
    # Imported here because a container that names its store doesn't need it.
    from platformdirs import user_data_path

    return user_data_path("sfd", appauthor=False) / "models"


def locate(name: str, chosen: Path | None = None) -> Path:
    """The folder of a model in the first store that has it.

    Raises ModelError if the name is invalid or no store has the model.
    """
    searched = stores(chosen)
    folders = [folder_of(store, name) for store in searched]
    for folder in folders:
        if may_be_file(folder / MODEL_FILE):
            return folder
    if len(searched) == 1:
        # Says if this store can't be read.
        find(searched[0])
    listed = " or ".join(map(str, searched))
    raise ModelError(f"no model {name!r} in {listed} (`sfd models list` shows what is there)")


def installed(chosen: Path | None = None) -> tuple[Path, ...]:
    """The folders of all models, the first store's first. Of equal names, the first is kept.

    Raises ModelError if no store exists or one cannot be read.
    """
    searched = stores(chosen)
    # The message about a missing store names the first one.
    present = [store for store in searched if store.is_dir()] or searched[:1]
    folders: dict[str, Path] = {}
    for store in present:
        for folder in find(store):
            folders.setdefault(folder.name, folder)
    return tuple(folders.values())
