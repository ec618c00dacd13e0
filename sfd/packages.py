"""Imports all modules of a package, for registries that modules fill when they are imported."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def import_modules(package: ModuleType) -> None:
    """Import each module of a package; further calls do nothing."""
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
