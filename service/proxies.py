"""The proxies that may say who a client is: uvicorn's variable `FORWARDED_ALLOW_IPS`."""

import ipaddress
import os

VARIABLE = "FORWARDED_ALLOW_IPS"


def unknown() -> list[str]:
    """The items of the variable that uvicorn ignores: neither an address nor a network.

    A network whose address has bits after the prefix, such as 10.0.0.7/8, is ignored, too.
    """
    items = [item.strip() for item in os.environ.get(VARIABLE, "").split(",")]
    return [item for item in items if item and not _is_known(item)]


def _is_known(item: str) -> bool:
    try:
        ipaddress.ip_network(item)
    except ValueError:
        return os.environ[VARIABLE] == "*"
    return True
