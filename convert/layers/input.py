"""Input."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import BATCH, GraphBuilder, Value
from convert.layers.registry import LayerError, handler


@handler("Input", bottoms=0, tops=(1, None))
def input_layer(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """The network's inputs: one shape for all tops, or one for each; the first axis is the batch.

    Caffe: src/caffe/layers/input_layer.cpp.
    """
    shapes = [tuple(shape.dim) for shape in layer.parameter.input_param.shape]
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if len(shapes) != len(layer.tops):
        raise LayerError(
            f"expected one input_param shape or {len(layer.tops)}, found {len(shapes)}"
        )
    return [
        graph.blobs[top] if top in graph.blobs else graph.input(top, (BATCH, *shape[1:]))
        for top, shape in zip(layer.tops, shapes, strict=True)
    ]
