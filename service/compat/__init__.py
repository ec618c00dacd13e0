"""Other products' HTTP APIs, each an adapter over the same detector; SFD_COMPAT names them."""

from importlib import import_module
from typing import get_args

from service.compat.api import Api
from service.settings import Compat


def api(name: Compat) -> Api:
    """A product's API. Its module is imported only where it is served."""
    found = import_module(f"service.compat.{name}").API
    assert isinstance(found, Api)
    return found


def all_apis() -> list[Api]:
    """The APIs of all products."""
    return [api(name) for name in get_args(Compat)]
