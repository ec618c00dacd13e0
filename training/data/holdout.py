"""Chooses the images that are held out of training."""

import hashlib


def is_held_out(name: str, share: float) -> bool:
    """Whether the image of this name belongs to the held-out share.

    A hash of the name decides. So the choice is the same on every machine and in any order.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32
