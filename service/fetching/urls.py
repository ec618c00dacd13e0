"""Which URLs are fetched: checks scheme, host and port before any look-up."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin

from service.errors import HostNotAllowed, InvalidParameter

LONGEST = 2048
PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
HOST = rf"{_LABEL}(?:\.{_LABEL})*"
ALLOWED_HOST = rf"^(?:\*\.{_LABEL}\.)?{HOST}(?::[1-9][0-9]{{0,4}})?$"
"""An item of SFD_FETCH_HOSTS, in lower case. A wildcard needs two labels after it."""
# Stricter than RFC 3986, so that no two programs read a URL in two ways: nothing but printable
# ASCII, no user, no IPv6 literal, no escapes in the host, no backslash.
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<target>[/?][!-\[\]-~]*)?",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in its parts."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    target: str
    """Path and query."""

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        return self.host if self.port == PORTS[self.scheme] else f"{self.host}:{self.port}"

    def join(self, location: str) -> str:
        """The target of a redirect from here."""
        return urljoin(f"{self.scheme}://{self.authority}{self.target}", location)


def parse(text: str) -> Url:
    """The parts of a URL; raises InvalidParameter."""
    plain = text.partition("#")[0]
    found = _URL.fullmatch(plain) if len(plain) <= LONGEST else None
    if found is None:
        raise InvalidParameter(
            "the URL must be http://HOST/PATH or https://HOST/PATH, in ASCII, without a user name, "
            f"and not longer than {LONGEST} characters"
        )
    scheme: Literal["http", "https"] = "https" if found["scheme"].lower() == "https" else "http"
    port = int(found["port"] or PORTS[scheme])
    if not 0 < port < 65536:
        raise InvalidParameter("the URL's port must be from 1 to 65535")
    target = found["target"] or "/"
    return Url(scheme, found["host"].lower(), port, target if target[0] == "/" else f"/{target}")


def check(url: Url, allowed: Sequence[str]) -> None:
    """Raise HostNotAllowed unless the host, as it is written, and the port are on the list.

    `HOST` allows the port of the scheme, `HOST:PORT` that port; `*.HOST` allows each host below.
    """
    for item in allowed:
        host, _, port = item.partition(":")
        matches = url.host.endswith(host[1:]) if host.startswith("*.") else url.host == host
        if matches and url.port == int(port or PORTS[url.scheme]):
            return
    raise HostNotAllowed(f"{url.authority[:200]} is not one of the hosts that images come from")
