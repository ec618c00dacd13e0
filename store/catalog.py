"""The catalog: published models that can be pulled, with the description that each will have."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from sfd.distribution import CHECKOUT
from sfd.files import open_regular
from store.model import Description, ModelError, Name, Source, problems
from store.places import FOLDER, PACKAGED, stores

CATALOG_FILE = "catalog.toml"
MAX_FILE_BYTES = 1 << 30

_STRICT = ConfigDict(extra="forbid")
_LOOPBACK = frozenset(["localhost", "127.0.0.1", "::1"])


def is_loopback(url: SplitResult) -> bool:
    """Whether a URL points to this machine."""
    return url.hostname in _LOOPBACK


def allowed(address: str) -> str:
    """Return the address. Raises ValueError unless it is https, or http on this machine.

    The hash would detect changed bytes, but plain http shows everyone on the network what is
    fetched, and `file:` would let a catalog read the user's private files. Mirrors and tests use
    http on the loopback address.
    """
    url = urlsplit(address)
    if not url.hostname or not (
        url.scheme == "https" or (url.scheme == "http" and is_loopback(url))
    ):
        raise ValueError(f"{address!r} is not an https address")
    return address


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class Download(Source):
    """A file to download; `file` is its name in the model folder."""

    url: Annotated[str, AfterValidator(allowed)]
    size: Annotated[int, Field(ge=1, le=MAX_FILE_BYTES)]
    """In bytes."""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class Entry(Description):
    """A model that can be pulled."""

    sources: Mapping[str, Download]

    @property
    def size(self) -> int:
        """Total number of bytes to download."""
        return sum(source.size for source in self.sources.values())


Catalog = Mapping[str, Entry]


def load(path: Path) -> Catalog:
    """Read a catalog as entries by name. ModelError gives the file and the key of every mistake."""
    try:
        with open_regular(path) as file:
            data = tomllib.load(file)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path}: is not valid TOML: {error}") from None
    for name, table in data.items():
        if isinstance(table, dict):
            table.setdefault("name", name)
    try:
        catalog = TypeAdapter(dict[Name, Entry]).validate_python(data)
    except ValidationError as error:
        raise ModelError(f"{path}: {problems(error)}") from None
    for name, entry in catalog.items():
        if entry.name != name:
            raise ModelError(f"{path}: {name}.name: is {entry.name!r}; remove this key")
    return catalog


def default_catalog(chosen: Path | None = None) -> Path:
    """The first catalog found in the chosen store, the default stores, and the sfd package."""
    ours = PACKAGED if CHECKOUT is None else CHECKOUT / FOLDER
    candidates = [store / CATALOG_FILE for store in (*stores(chosen), *stores(), ours)]
    return next((path for path in candidates if path.is_file()), candidates[-1])
