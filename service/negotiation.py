"""Chooses a media type by the client's Accept header."""

from collections.abc import Sequence


def choose(accept: str, offered: Sequence[str]) -> str | None:
    """The best of `offered`, which are in our order of preference; None if none is acceptable.

    RFC 9110, section 12.5.1: each type has the quality of the most specific range that matches it,
    and 0 means not acceptable. Without a header, or without a valid range in it, any type is
    acceptable.
    """
    ranges = [parsed for part in accept.split(",") if (parsed := _parse(part)) is not None]
    if not ranges:
        ranges = [("*/*", 1.0)]
    best, best_quality = None, 0.0
    for offer in offered:
        quality = _quality(offer, ranges)
        if quality > best_quality:
            best, best_quality = offer, quality
    return best


def _parse(part: str) -> tuple[str, float] | None:
    """One media range and its quality, such as ("image/*", 0.8); None if it is invalid."""
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    main, slash, sub = name.partition("/")
    if not (main and slash and sub):
        return None
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
            return (name, quality) if 0 <= quality <= 1 else None
    return name, 1.0


def _quality(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    group = offer.partition("/")[0] + "/*"
    for wanted in (offer, group, "*/*"):
        qualities = [quality for name, quality in ranges if name == wanted]
        if qualities:
            return max(qualities)
    return 0.0
