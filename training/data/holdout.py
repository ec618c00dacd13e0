"""Which photographs a share holds out of training: the same on every machine, in any order."""

import hashlib


def is_held_out(name: str, share: float) -> bool:
    """Whether a list's photograph of this name is of the share; by a hash of the name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32
