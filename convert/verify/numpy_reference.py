"""A whole network in NumPy, layer by layer, by the formulas of convert.verify.reference."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from convert.caffe.network import Network
from convert.verify.opencv import Feed, needed_for
from convert.verify.reference.registry import formulas
from convert.verify.rewrites.piece import Shapes
from geometry.arrays import F32, F64

MOST_PRODUCTS = 2e10
"""How many multiplications a picture may take, which is half a minute or so."""

NAME = "NumPy reference"


class NumpyError(Exception):
    """The network can't be computed in NumPy; the message says why."""


@dataclass(frozen=True, slots=True)
class NumpyReference:
    """Some blobs of a network, computed in float64 from the weights as we read them."""

    network: Network
    """The part of the network that the blobs need."""
    blobs: tuple[str, ...]

    @classmethod
    def of(cls, network: Network, shapes: Shapes, blobs: Iterable[str]) -> "NumpyReference":
        """The reference for some blobs; NumpyError where a layer has no formula, or is too large.

        The blobs that layers with jumps read are added to those given.
        """
        wanted = tuple(blobs)
        part = needed_for(network, wanted)
        known = formulas()
        unknown = sorted({layer.type for layer in part.layers} - known.keys())
        if unknown:
            raise NumpyError(f"no formula for layers of type {', '.join(unknown)}")
        if products(part, shapes) > MOST_PRODUCTS:
            raise NumpyError("the network is too large for NumPy")
        return cls(part, tuple(dict.fromkeys((*wanted, *read_by_jumps(part)))))

    @np.errstate(all="ignore")  # Untrained weights overflow; in Caffe as well.
    def run(self, feed: Feed, found: Mapping[str, F32]) -> Mapping[str, F32]:
        """The blobs for one picture; NumpyError where a layer can't be computed for it.

        `found` are the file's blobs. Where a layer jumps, it is computed from those, which are
        compared themselves: otherwise a rounding error would look like a wrong index.
        """
        known = formulas()
        values: dict[str, F64] = {
            name: feed[name].astype(np.float64) for name in self.network.inputs
        }
        results: dict[str, F32] = {}
        readers = Counter(bottom for layer in self.network.layers for bottom in layer.bottoms)
        for layer in self.network.layers:
            formula = known[layer.type]
            bottoms = [values[bottom] for bottom in layer.bottoms]
            if formula.jumps(layer):
                bottoms = [
                    found[name].astype(np.float64).reshape(own.shape)
                    if name in found and found[name].size == own.size
                    else own
                    for name, own in zip(layer.bottoms, bottoms, strict=True)
                ]
            try:
                made = formula.compute(layer, bottoms)
            except (IndexError, ValueError) as error:
                # Such as a Reshape to the prototxt's own batch, where a picture has batch 1.
                raise NumpyError(f"layer {layer.name}: {error}") from error
            tops = [made] if isinstance(made, np.ndarray) else made
            for top, value in zip(layer.tops, tops, strict=True):
                values[top] = value
                if top in self.blobs:
                    results[top] = value.astype(np.float32)
            readers.subtract(layer.bottoms)
            for name in (*layer.bottoms, *layer.tops):
                if not readers[name]:
                    values.pop(name, None)
        return results


def read_by_jumps(network: Network) -> list[str]:
    """The blobs that layers read whose results jump."""
    known = formulas()
    return [
        bottom
        for layer in network.layers
        if layer.type in known and known[layer.type].jumps(layer)
        for bottom in layer.bottoms
        if bottom not in network.inputs
    ]


def products(network: Network, shapes: Shapes) -> float:
    """How many multiplications the layers with weights take for one picture."""
    total = 0.0
    for layer in network.layers:
        if layer.blobs and layer.blobs[0].ndim > 1:
            # Each weight once for each pixel: of the input where the layer enlarges it.
            sizes = [_pixels(shapes, blob) for blob in (*layer.bottoms[:1], *layer.tops[:1])]
            pixels = min(sizes) if layer.type == "Deconvolution" else sizes[-1]
            total += float(layer.blobs[0].size) * pixels
    return total


def _pixels(shapes: Shapes, blob: str) -> float:
    return float(np.prod([dim for dim in shapes[blob][2:] if isinstance(dim, int)], dtype=float))
