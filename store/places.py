"""Where models are looked for: one store or several, and the first is where new models go.

`--store DIR`, then `$SFD_MODEL_STORE`, then `./model_store`, then the `model_store` of the checkout
that this code lies in: the first of these that applies is the only store. An installed sfd has no
checkout. There, the user's data folder follows `./model_store`, and the models that came with the
package follow both: all of them are searched, and of two models with one name the first counts.
"""

import os
from pathlib import Path

from sfd.distribution import CHECKOUT, HOME
from store.model import MODEL_FILE, ModelError, find, folder_of

ENVIRONMENT = "SFD_MODEL_STORE"
FOLDER = "model_store"
PACKAGED = HOME / "sfd" / FOLDER
"""The models of an installed package: read only, and absent in a checkout."""


def stores(chosen: Path | None = None) -> tuple[Path, ...]:
    """The stores to search, in order; new models go into the first, which may not exist yet.

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
    """The store that a new model of this name goes into: the first one.

    Raises ModelError for what is not a model name, and for a name that a later store has: the new
    model would hide the old one.
    """
    first, *others = stores(chosen)
    for store in others:
        folder = folder_of(store, name)
        if folder.exists():
            raise ModelError(f"{folder} exists already; choose another name")
    return first


def user_store() -> Path:
    """The store in the user's data folder, which an installed sfd adds models to."""
    # Imported here: a container that names its store has no need of it.
    from platformdirs import user_data_path

    return user_data_path("sfd", appauthor=False) / "models"


def locate(name: str, chosen: Path | None = None) -> Path:
    """The folder of a model in the first store that has it.

    Raises ModelError for what is not a model name, and for a model that no store has.
    """
    searched = stores(chosen)
    folders = [folder_of(store, name) for store in searched]
    for folder in folders:
        if (folder / MODEL_FILE).is_file():
            return folder
    listed = " or ".join(map(str, searched))
    raise ModelError(f"no model {name!r} in {listed} (`sfd models list` shows what is there)")


def installed(chosen: Path | None = None) -> tuple[Path, ...]:
    """The folders of all models, those of the first store first; of one name, the first folder.

    Raises ModelError where no store exists or one cannot be read.
    """
    searched = stores(chosen)
    # The message about a store that is missing names the first one.
    present = [store for store in searched if store.is_dir()] or searched[:1]
    folders: dict[str, Path] = {}
    for store in present:
        for folder in find(store):
            folders.setdefault(folder.name, folder)
    return tuple(folders.values())
