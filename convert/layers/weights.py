"""Which layers of a network need weights, and which weights are missing or ambiguous."""

from collections import Counter
from collections.abc import Sequence

from convert.caffe.diagnostics import Diagnostic
from convert.caffe.network import Layer
from convert.layers.registry import handlers


def needing_weights(layers: Sequence[Layer]) -> list[Layer]:
    """The layers that need blobs, as their handlers state."""
    known = handlers()
    return [
        layer for layer in layers if layer.type in known and known[layer.type].needs_weights(layer)
    ]


def unfilled(layers: Sequence[Layer]) -> list[str]:
    """Names of the layers that need weights but have none."""
    return [layer.name for layer in needing_weights(layers) if not layer.blobs]


def repeated(layers: Sequence[Layer]) -> list[Diagnostic]:
    """A problem for each layer with weights that shares its name: weights are found by name."""
    weighted = needing_weights(layers)
    counts = Counter(layer.name for layer in weighted)
    return [
        Diagnostic("another layer has this name; rename one", layer.line, layer=layer.name)
        for layer in weighted
        if counts[layer.name] > 1
    ]
