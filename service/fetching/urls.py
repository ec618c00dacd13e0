"""Checks URLs before any look-up: the scheme, the host and the port."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin

from service.errors import HostNotAllowed, InvalidParameter

LONGEST = 2048
FORM = (
    "http://HOST/PATH or https://HOST/PATH, in ASCII, without a user name, and not longer than "
    f"{LONGEST} characters"
)
"""What a URL must be."""
PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_PORT = (  # 1 to 65535
    "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
ALLOWED_HOST = rf"^(?:\*\.{_LABEL}\.)?{HOST}(?::{_PORT})?$"
"""An item of SFD_FETCH_HOSTS, in lower case. A wildcard needs two labels after it."""
ORIGIN = rf"https?://(?:{HOST}|\[[0-9a-f:.]+\])(?::{_PORT})?"
"""An origin as browsers send it, in lower case; an address of IPv6 is in brackets."""
# Stricter than RFC 3986, so that all programs read a URL in the same way: only printable ASCII, no
# user, no IPv6 literal, no escapes in the host, no backslash.
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
        """The target of a redirect from here, with spaces encoded as browsers do."""
        here = f"{self.scheme}://{self.authority}{self.target}"
        return urljoin(here, location.replace(" ", "%20"))


def parse(text: str) -> Url:
    """The parts of a URL. Raises InvalidParameter."""
    plain = text.partition("#")[0]
    found = _URL.fullmatch(plain) if len(plain) <= LONGEST else None
    if found is None:
        raise InvalidParameter(f"the URL must be {FORM}")
    scheme: Literal["http", "https"] = "https" if found["scheme"].lower() == "https" else "http"
    port = int(found["port"] or PORTS[scheme])
    if not 0 < port < 65536:
        raise InvalidParameter("the URL's port must be from 1 to 65535")
    target = found["target"] or "/"
    return Url(scheme, found["host"].lower(), port, target if target[0] == "/" else f"/{target}")


def check(url: Url, allowed: Sequence[str]) -> None:
    """Raise HostNotAllowed unless the host (as written) and the port are listed.

    `HOST` allows the port of the scheme, `HOST:PORT` that port; `*.HOST` allows each host below.
    """
    for item in allowed:
        host, _, port = item.partition(":")
        matches = url.host.endswith(host[1:]) if host.startswith("*.") else url.host == host
        if matches and url.port == int(port or PORTS[url.scheme]):
            return
    raise HostNotAllowed(f"{url.authority[:200]} is not one of the allowed hosts for images")
