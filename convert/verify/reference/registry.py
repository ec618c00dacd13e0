"""Which NumPy function computes which Caffe layer type.

A formula takes the layer and its bottoms as float64 arrays, and returns its tops. It may assume
that the layer is valid: the handlers have refused what is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import convert.verify.reference as package
from convert.caffe.network import Layer
from geometry.arrays import F64
from sfd.packages import import_modules

ROUNDING = 2.0**-24
"""How far float32 may be from a value, in relation to it."""

Compute = Callable[[Layer, Sequence[F64]], F64 | Sequence[F64]]
Inner = Callable[[Layer, Sequence[F64]], F64]


@dataclass(frozen=True, slots=True)
class Formula:
    """How one layer type is computed."""

    type: str
    compute: Compute
    jumps: Callable[[Layer], bool]
    """Whether a rounding error in a bottom of a layer can change a top by more than that.

    An index of a maximum jumps from one position to another where two values are equal but for
    rounding. Such a layer is computed from the file's own bottoms, which are compared themselves.
    """
    inner: Inner | None
    """How far rounding of numbers inside the layer moves its top, where bottoms don't show it.

    Its shape fits the top's; along an axis of 1 all are moved by the same.
    """


_formulas: dict[str, Formula] = {}


def formula(
    *types: str, jumps: bool | Callable[[Layer], bool] = False, inner: Inner | None = None
) -> Callable[[Compute], Compute]:
    """Register a function for these layer types.

    `jumps` and `inner` are as in `Formula`; `jumps` may also say it for all layers.
    """
    decide = jumps if callable(jumps) else lambda _: jumps

    def register(compute: Compute) -> Compute:
        for layer_type in types:
            if layer_type in _formulas:
                raise ValueError(f"layer type {layer_type} has two formulas")
            _formulas[layer_type] = Formula(layer_type, compute, decide, inner)
        return compute

    return register


def formulas() -> dict[str, Formula]:
    """Every formula by layer type, in alphabetical order."""
    import_modules(package)
    return dict(sorted(_formulas.items()))
