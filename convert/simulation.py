"""Simulated weights: seeded random numbers instead of a caffemodel.

The weights don't affect whether a network can be converted, so a bug report needs only the prototxt
and a seed.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from convert.caffe.network import Layer, Network
from convert.caffe.weights import Blobs
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import NO_WEIGHTS, BlobsMissingError
from convert.layers.registry import Handler, Translate, handlers
from convert.translate import TranslationError, build_graph
from geometry.arrays import F32, F64

Fill = Callable[[Layer, Sequence[tuple[int, ...]]], Blobs]
"""Makes the blobs of a layer in the shapes that its handler expects."""

_RECTIFIERS = frozenset(["ELU", "PReLU", "ReLU", "ReLU6"])
_STATISTICS = frozenset(["BN", "BatchNorm"])
_POINTWISE = frozenset(["Bias", "Scale"])
PIXEL_SPREAD = 64.0
"""The standard deviation of an input of pixels after the mean is subtracted."""


def simulate(network: Network, seed: int) -> Network:
    """The network with random blobs for every layer that lacks them; existing blobs are kept.

    The handler of a layer says which shapes it expects (`check_blobs`). Weights are normal with
    the variance of He et al. (2015) where a ReLU follows, else 1 / inputs, so that activations
    keep their scale through any number of layers. A `gaussian` filler with a fixed `std` would not
    do that. Bilinear fillers and the scale of Normalize layers are obeyed. The same prototxt and
    seed give the same blobs.

    Raises TranslationError for what hinders the conversion, as `build_graph` does.
    """
    filled: dict[str, Blobs] = {}
    shared: dict[str, F32] = {}
    random = np.random.default_rng(seed)
    readers: dict[str, list[str]] = defaultdict(list)
    for layer in network.layers:
        for bottom in layer.bottoms:
            readers[bottom].append(layer.type)

    def fill(layer: Layer, shapes: Sequence[tuple[int, ...]]) -> Blobs:
        blobs = list(_blobs(layer, shapes, random, network, readers))
        for position, spec in enumerate(layer.parameter.param[: len(blobs)]):
            if spec.name:
                own = blobs[position]
                value = shared.setdefault(spec.name, own)
                if value.size == own.size:
                    blobs[position] = value.reshape(own.shape)
        filled[layer.name] = tuple(blobs)
        return filled[layer.name]

    graph = GraphBuilder()
    try:
        build_graph(network, graph, _filling(fill))
    except TranslationError as error:
        # Layers after one that failed were not reached, so their missing blobs are not reported.
        problems = [each for each in error.diagnostics if each.message != NO_WEIGHTS]
        raise TranslationError(problems) from None
    layers = tuple(
        replace(layer, blobs=filled.get(layer.name, layer.blobs)) for layer in network.layers
    )
    return replace(network, layers=layers)


def _filling(fill: Fill) -> Mapping[str, Handler]:
    """All handlers; each gets the blobs that its layer lacks from `fill`."""
    return {
        name: replace(handler, translate=fill_blobs(handler.translate, fill))
        for name, handler in handlers().items()
    }


def fill_blobs(translate: Translate, fill: Fill) -> Translate:
    """A handler's function that gets the blobs that a layer lacks from `fill`."""

    def filled(
        layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]
    ) -> Value | Sequence[Value]:
        values, nodes = dict(graph.values), list(graph.nodes)
        try:
            return translate(layer, graph, inputs)
        except BlobsMissingError as missing:
            # Undo what the handler added before it checked its blobs; it will add it again.
            graph.values, graph.nodes = values, nodes
            blobs = fill(layer, missing.shapes)
            return translate(replace(layer, blobs=blobs), graph, inputs)

    return filled


def _blobs(
    layer: Layer,
    shapes: Sequence[tuple[int, ...]],
    random: np.random.Generator,
    network: Network,
    readers: Mapping[str, Sequence[str]],
) -> list[F32]:
    """Random blobs of these shapes for a layer type."""
    made: list[F64]
    if layer.type in _STATISTICS and len(shapes) >= 3:
        made = _statistics(layer.type, shapes, random)
    elif layer.type in _POINTWISE:
        made = [random.uniform(0.5, 1.5, shape) for shape in shapes[:1]]
        made += [random.normal(0, 0.1, shape) for shape in shapes[1:]]
    elif layer.type == "PReLU":
        made = [random.uniform(0, 0.3, shape) for shape in shapes]
    elif layer.type == "DataAugmentation":
        batches = float(layer.parameter.augmentation_param.recompute_mean)
        made = [np.full(shapes[0], batches)]
        made += [random.uniform(0, 1, shape) for shape in shapes[1:]]
    elif layer.type == "Normalize":
        scale = layer.parameter.norm_param.scale_filler.value or 1.0
        made = [scale * random.uniform(0.9, 1.1, shape) for shape in shapes]
    else:
        made = [_weight(layer, shape, random, network, readers) for shape in shapes]
    return [np.asarray(array, np.float32) for array in made]


def _statistics(
    kind: str, shapes: Sequence[tuple[int, ...]], random: np.random.Generator
) -> list[F64]:
    """Mean, variance and factor of BatchNorm (then scale and bias); or scale and bias of BN first.

    All are positive or small, so that no order of the blobs gives a negative variance.
    """
    made: list[F64] = []
    for index, shape in enumerate(shapes):
        if math.prod(shape) == 1 and index == 2 and kind == "BatchNorm":
            made.append(np.ones(shape))
        elif index == 0 and kind == "BatchNorm":
            made.append(random.normal(0, 0.2, shape))
        elif index == 4 or (kind == "BN" and index == 1):
            made.append(random.normal(0, 0.1, shape))
        else:
            made.append(random.uniform(0.5, 1.5, shape))
    return made


def _weight(
    layer: Layer,
    shape: tuple[int, ...],
    random: np.random.Generator,
    network: Network,
    readers: Mapping[str, Sequence[str]],
) -> F64:
    """A matrix or kernel whose results have the scale of its inputs; with one axis, a bias."""
    if len([side for side in shape if side != 1]) < 2 and len(shape) < 3:
        return random.normal(0, 0.1, shape)
    if layer.type == "Deconvolution":
        parameter = layer.parameter.convolution_param
        if parameter.weight_filler.type == "bilinear":
            return _bilinear(shape)
        stride = max([1, *parameter.stride, parameter.stride_h]) ** 2
        inputs = max(1.0, shape[0] / max(1, parameter.group) * math.prod(shape[2:]) / stride)
    elif layer.type == "InnerProduct" and layer.parameter.inner_product_param.transpose:
        inputs = float(shape[0])
    else:
        inputs = float(math.prod(shape[1:]))
    after = [kind for top in layer.tops for kind in readers.get(top, ())]
    gain = 2.0 if any(kind in _RECTIFIERS for kind in after) else 1.0
    if "Eltwise" in after:
        gain = 0.25  # otherwise the sums of a hundred residual blocks would overflow
    spread = math.sqrt(gain / inputs)
    if any(bottom in network.inputs for bottom in layer.bottoms):
        spread /= PIXEL_SPREAD
    return random.normal(0, spread, shape)


def _bilinear(shape: tuple[int, ...]) -> F64:
    """The kernel of BilinearFiller (include/caffe/filler.hpp) for every pair of channels."""
    height, width = shape[-2:]
    factor = math.ceil(width / 2)
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    x, y = (1 - np.abs(np.arange(side) / factor - centre) for side in (width, height))
    return np.broadcast_to(np.outer(y, x), shape).copy()
