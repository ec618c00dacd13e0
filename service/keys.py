"""The service's API keys, and the check of a key that a request carries."""

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers

from service.errors import Unauthorized


class Keys:
    """The keys that open the service; without any, it is open to all. Holds only digests."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        """Whether a request must carry a key."""
        return bool(self._digests)

    def check(
        self, given: str | None, place: str = "in X-API-Key or as Authorization: Bearer"
    ) -> None:
        """Raise Unauthorized if a key is needed and `given` is not one. `place` says where."""
        if not self._digests:
            return
        if given is None:
            raise Unauthorized(f"an API key is needed, {place}")
        digest = _digest(given)
        # All digests have the same length and all are compared, so the time reveals nothing about a
        # key.
        if not sum(hmac.compare_digest(digest, known) for known in self._digests):
            raise Unauthorized("the API key is not valid")


def in_headers(headers: Headers) -> str | None:
    """The key in `X-API-Key` or in `Authorization: Bearer`; None if there is neither.

    An empty one counts as none: clients send it if they take the key from an empty setting.
    """
    if given := headers.get("x-api-key"):
        return given
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return (credentials.strip() or None) if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
