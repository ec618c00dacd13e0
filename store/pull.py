"""Pulls a published model into the store: downloads, checks, converts and verifies it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from store.build import Progress, build
from store.catalog import Catalog
from store.download import TIMEOUT_S, fetch
from store.model import Model, ModelError, folder_of, load
from store.staging import staged, write_description


def pull(
    store: Path,
    name: str,
    catalog: Catalog,
    *,
    input_size: tuple[int, int] | None = None,
    verify: bool = True,
    timeout: float = TIMEOUT_S,
    progress: Progress = lambda _: None,
    warn: Callable[[str], object] = lambda _: None,
) -> Model:
    """Download a catalog's model and build it in the store. A failure leaves nothing behind.

    `input_size` (height, width) overrides the catalog's. Each warning of the converter is passed to
    `warn`, also that the file is unverified. Raises ModelError if the catalog lacks the
    name or the store already has it, if the download fails or differs from what the catalog states,
    or if the disk is full. Raises SfdError if the conversion fails.
    """
    target = folder_of(store, name)
    if name not in catalog:
        known = ", ".join(sorted(catalog)) or "nothing"
        raise ModelError(f"the catalog has no model {name!r}; it has {known}")
    entry = catalog[name]
    if input_size:
        height, width = input_size
        entry = replace(entry, input=replace(entry.input, height=height, width=width))
    with staged(store, name) as folder:
        for source in entry.sources.values():
            fetch(source, folder / source.file, timeout=timeout)
        write_description(entry, folder)
        build(load(folder), verify=verify, progress=progress, warn=warn)
    return load(target)
