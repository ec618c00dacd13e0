"""y = scale · x + shift with constants laid along one axis: BatchNorm, Scale and Bias become this.

The constants stay float64 until the file is written, so that convert.fold can merge them exactly.
"""

import numpy as np

from convert.graph import GraphBuilder, Value
from geometry.arrays import F32, F64


def affine(
    graph: GraphBuilder,
    x: Value,
    name: str,
    constants: str,
    axis: int,
    *,
    scale: F32 | F64 | None = None,
    shift: F32 | F64 | None = None,
) -> Value:
    """Multiply by `scale`, then add `shift`; both span the axes of x from `axis` on.

    `name` is the name of the result, `constants` the prefix of the constants' names. `scale` or
    `shift` or both must be given.
    """
    steps = [
        (operator, kind, array)
        for operator, kind, array in (("Mul", "scale", scale), ("Add", "shift", shift))
        if array is not None
    ]
    for operator, kind, array in steps:
        spread = array.astype(np.float64).reshape(array.shape + (1,) * (x.rank - axis - array.ndim))
        constant = graph.constant(spread, f"{constants}/{kind}")
        last = kind == steps[-1][1]
        x = graph.node(operator, [x, constant], x.shape, name=name if last else None)
    return x
