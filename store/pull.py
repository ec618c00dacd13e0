"""A published model into the store: fetched, checked by hash, converted, verified, then there."""

from dataclasses import replace
from pathlib import Path

from store.build import Progress, build
from store.catalog import Catalog
from store.download import TIMEOUT_S, fetch
from store.model import Model, ModelError, folder_of, load
from store.staging import refuse_existing, staged, write_description


def pull(
    store: Path,
    name: str,
    catalog: Catalog,
    *,
    input_size: tuple[int, int] | None = None,
    verify: bool = True,
    timeout: float = TIMEOUT_S,
    progress: Progress = lambda _: None,
) -> Model:
    """Fetch a catalog's model and build it in the store; on any failure nothing is left behind.

    `input_size` (height, width) overrides the catalog's. Raises ModelError for a name that the
    catalog lacks or the store has already, for a download that fails or is not what the catalog
    promises, and for a full disk; SfdError where it doesn't convert.
    """
    target = folder_of(store, name)
    if name not in catalog:
        known = ", ".join(sorted(catalog)) or "nothing"
        raise ModelError(f"the catalog has no model {name!r}; it has {known}")
    refuse_existing(target)
    entry = catalog[name]
    if input_size:
        height, width = input_size
        entry = replace(entry, input=replace(entry.input, height=height, width=width))
    with staged(store, name) as folder:
        for source in entry.sources.values():
            fetch(source, folder / source.file, timeout=timeout)
        write_description(entry, folder)
        build(load(folder), verify=verify, progress=progress)
    return load(target)
