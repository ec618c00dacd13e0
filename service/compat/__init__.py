"""Other products' HTTP APIs, each an adapter over the same detector; SFD_COMPAT names them."""

from collections.abc import Mapping

from service.compat import compreface, deepstack
from service.compat.api import Api
from service.settings import Compat

APIS: Mapping[Compat, Api] = {"deepstack": deepstack.API, "compreface": compreface.API}
