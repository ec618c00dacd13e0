"""ContinuationIndicator."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler

STEPS_LIMIT = 1_000_000


@handler("ContinuationIndicator", bottoms=(0, None))
def continuation_indicator(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """0 at the first step of each sequence and 1 at all others, [time_step, batch_size].

    The top is [time_step, 1] here, since all sequences have the same numbers: the batch is open.
    Caffe, Intel's: src/caffe/layers/continuation_indicator_layer.cpp.
    """
    parameter = layer.parameter.continuation_indicator_param
    if min(parameter.time_step, parameter.batch_size) < 1:
        raise LayerError("time_step and batch_size must be at least 1")
    if parameter.time_step > STEPS_LIMIT:
        raise LayerError(f"time_step is {parameter.time_step}; the limit is {STEPS_LIMIT}")
    going_on = np.ones((parameter.time_step, 1), np.float32)
    going_on[0] = 0
    return graph.constant(going_on, layer.tops[0], exact_name=True)
