"""Power, Exp and Log."""

import math
from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler

NATURAL = -1
"""Caffe's word for base e."""


@handler("Power")
def power(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """(shift + scale · x) ^ power.

    Caffe: src/caffe/layers/power_layer.cpp.
    """
    parameter = layer.parameter.power_param
    steps = [("Mul", parameter.scale, 1.0), ("Add", parameter.shift, 0.0)]
    if parameter.power != 1:
        steps.append(("Pow", parameter.power, 1.0))
    return _chain(layer, graph, inputs[0], steps)


@handler("Exp")
def exp(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Powers base ^ (shift + scale · x); base −1 stands for e.

    Caffe: src/caffe/layers/exp_layer.cpp.
    """
    parameter = layer.parameter.exp_param
    logarithm = _logarithm(parameter.base)
    steps = [
        ("Mul", logarithm * parameter.scale, 1.0),
        ("Add", logarithm * parameter.shift, 0.0),
        ("Exp", None, None),
    ]
    return _chain(layer, graph, inputs[0], steps)


@handler("Log")
def log(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The logarithm of shift + scale · x to a base; base −1 stands for e.

    Caffe: src/caffe/layers/log_layer.cpp.
    """
    parameter = layer.parameter.log_param
    logarithm = _logarithm(parameter.base)
    if logarithm == 0:
        raise LayerError("base is 1, for which no logarithm exists")
    steps = [
        ("Mul", parameter.scale, 1.0),
        ("Add", parameter.shift, 0.0),
        ("Log", None, None),
        ("Mul", 1 / logarithm, 1.0),
    ]
    return _chain(layer, graph, inputs[0], steps)


def _logarithm(base: float) -> float:
    if base != NATURAL and base <= 0:
        raise LayerError(f"base is {base:g}; expected a positive number, or -1 for e")
    return 1.0 if base == NATURAL else math.log(base)


def _chain(
    layer: Layer,
    graph: GraphBuilder,
    x: Value,
    steps: Sequence[tuple[str, float | None, float | None]],
) -> Value:
    """Apply operators in turn, each with its constant, without those that would do nothing."""
    kept = [step for step in steps if step[1] is None or step[1] != step[2]]
    for position, (operator, number, _) in enumerate(kept):
        name = layer.tops[0] if position == len(kept) - 1 else None
        operands = [x]
        if number is not None:
            operands.append(graph.constant(number, f"{layer.name}/{operator.lower()}"))
        x = graph.node(operator, operands, x.shape, name=name)
    return x
