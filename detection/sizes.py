"""Formats sizes for people."""


def readable_bytes(count: int) -> str:
    """`20 MiB` for 20971520, `1.5 MB` for 1500000, `800 bytes` below a thousand."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            return f"{_short(count / size)} {unit}"
    return f"{count} bytes"


def readable_pixels(count: int) -> str:
    """`50 megapixels` for 50000000, `4000 pixels` below a hundred thousand."""
    return f"{_short(count / 10**6)} megapixels" if count >= 10**5 else f"{count} pixels"


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
