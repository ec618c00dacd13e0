"""The precisions in which a model can run, and what each needs from the processor."""

import platform
from collections.abc import Set
from enum import StrEnum
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


class Precision(StrEnum):
    """What SFD_PRECISION accepts."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


NEEDS = {
    Precision.FLOAT32: frozenset[str](),
    Precision.BFLOAT16: frozenset({"avx512_bf16", "amx_bf16"}),
    # Older x86 processors add pairs of int8 products in 16 bits, which overflow.
    Precision.INT8: frozenset({"avx512_vnni", "avx_vnni", "asimddp"}),
}
"""The processor's features, by Linux's names, of which a precision needs one."""


def processor_features(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """The features of the processor, by Linux's names; none if the system does not list them."""
    # x86 calls them flags, ARM features.
    return frozenset((_entry(cpuinfo, "flags") or _entry(cpuinfo, "Features")).split())


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """The model of the processor, or its kind where the system does not name the model."""
    return _entry(cpuinfo, "model name") or platform.machine()


def _entry(cpuinfo: Path, wanted: str) -> str:
    """The first entry of a name; empty if there is none."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == wanted), "")


def lacking(precision: Precision, features: Set[str]) -> str | None:
    """What a processor with these features lacks for a precision; None if it lacks nothing."""
    needed = NEEDS[precision]
    if not needed or needed & features:
        return None
    names = " or ".join(sorted(needed))
    if not features:
        return f"{precision} needs a processor with {names}, and {CPUINFO} does not list its flags"
    return f"{precision} needs a processor with {names}, and this one has none of them"
