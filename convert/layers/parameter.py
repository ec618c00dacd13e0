"""Parameter."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import check_blobs, text
from convert.layers.registry import LayerError, handler


@handler("Parameter", bottoms=0, weights=True)
def parameter(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """A constant: the layer's only weight blob, in the shape that the prototxt states.

    Caffe: include/caffe/layers/parameter_layer.hpp and src/caffe/layers/parameter_layer.cpp.
    """
    shape = tuple(layer.parameter.parameter_param.shape.dim)
    if not shape or min(shape) < 1:
        raise LayerError(f"parameter_param has the shape {text(shape)}; state one without zeros")
    check_blobs(layer, [shape])
    content = layer.blobs[0].reshape(shape)
    return graph.constant(content, layer.tops[0], exact_name=True)
