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

Compute = Callable[[Layer, Sequence[F64]], F64 | Sequence[F64]]


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


_formulas: dict[str, Formula] = {}


def formula(
    *types: str, jumps: bool | Callable[[Layer], bool] = False
) -> Callable[[Compute], Compute]:
    """Register a function for these layer types; `jumps` as in `Formula`, or for all layers."""
    decide = jumps if callable(jumps) else lambda _: jumps

    def register(compute: Compute) -> Compute:
        for layer_type in types:
            if layer_type in _formulas:
                raise ValueError(f"layer type {layer_type} has two formulas")
            _formulas[layer_type] = Formula(layer_type, compute, decide)
        return compute

    return register


def formulas() -> dict[str, Formula]:
    """Every formula by layer type, in alphabetical order."""
    import_modules(package)
    return dict(sorted(_formulas.items()))
