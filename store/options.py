"""The options that name the store and the catalog, and what a command finds there."""

import argparse
from pathlib import Path

from store.catalog import Catalog, default_catalog, load
from store.model import ModelError
from store.places import locate


def add_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Declare --store and --catalog. argparse.SUPPRESS as default keeps an earlier value."""
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        default=default,
        help="the folder of models (default: $SFD_MODEL_STORE, otherwise see `sfd models --help`)",
    )
    parser.add_argument(
        "--catalog",
        type=Path,
        metavar="FILE",
        default=default,
        help="the catalog of models to pull (default: the store's catalog.toml, otherwise sfd's "
        "own)",
    )


def catalog(arguments: argparse.Namespace) -> Catalog:
    """The catalog; empty if there is none and the user named none."""
    path = arguments.catalog or default_catalog(arguments.store)
    return load(path) if arguments.catalog or path.is_file() else {}


def folder_of(name: str, arguments: argparse.Namespace) -> Path:
    """The folder of a model. Raises ModelError, which says how to pull one of the catalog."""
    try:
        return locate(name, arguments.store)
    except ModelError:
        if name not in catalog(arguments):
            raise
        raise ModelError(
            f"{name} is not in the store; `sfd models pull {name}` downloads it"
        ) from None
