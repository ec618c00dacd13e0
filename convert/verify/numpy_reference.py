"""A whole network in NumPy, layer by layer, by the formulas of convert.verify.reference."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from convert.caffe.network import Network
from convert.verify.opencv import Feed, needed_for
from convert.verify.reference.registry import ROUNDING, formulas
from convert.verify.rewrites.piece import Shapes
from geometry.arrays import F32, F64

MOST_PRODUCTS = 2e10
"""How many multiplications a picture may take, which is half a minute or so."""

NAME = "NumPy reference"

ROUNDINGS = 4
"""How many roundings a result may be off. Sums of many terms round more than once."""

SEEDS = (1, 2, 3)
"""For the runs with moved values: in one run alone a result may stay in place by chance."""


class NumpyError(Exception):
    """The network can't be computed in NumPy; the message says why."""


@dataclass(slots=True)
class Rounded:
    """Moves what layers read by up to one rounding, each layer's bottoms by themselves."""

    random: np.random.Generator
    largest: dict[str, float] = field(default_factory=dict, init=False)
    """The largest magnitude that each layer read, by its name."""

    def bottom(self, layer: str, values: F64) -> F64:
        """What a layer reads of a blob. Two layers that read it don't round alike."""
        magnitude = float(np.abs(values).max(initial=0.0))
        self.largest[layer] = max(self.largest.get(layer, 0.0), magnitude)
        return np.asarray(values * (1 + ROUNDING * self.random.uniform(-1, 1, values.shape)))

    def top(self, values: F64, inner: F64) -> F64:
        """What a layer gives out that also rounds numbers inside."""
        return values + inner * self.random.uniform(-1, 1, inner.shape)


@dataclass(frozen=True, slots=True)
class NumpyReference:
    """Some blobs of a network, computed in float64 from the weights as we read them."""

    network: Network
    """The part of the network that the blobs need."""
    blobs: tuple[str, ...]

    @classmethod
    def of(
        cls, network: Network, shapes: Shapes, blobs: Iterable[str], most: float = math.inf
    ) -> "NumpyReference":
        """The reference for some blobs; NumpyError if a layer has no formula.

        Also if they need more than `most` products together. The blobs that layers with jumps read
        are added to those given.
        """
        wanted = tuple(blobs)
        part = needed_for(network, wanted)
        known = formulas()
        unknown = sorted({layer.type for layer in part.layers} - known.keys())
        if unknown:
            raise NumpyError(f"no formula for layers of type {', '.join(unknown)}")
        if products(part, shapes) > most:
            raise NumpyError("the network is too large for NumPy")
        return cls(part, tuple(dict.fromkeys((*wanted, *read_by_jumps(part)))))

    @classmethod
    def has(cls, network: Network, shapes: Shapes, blob: str) -> bool:
        """Whether a blob can be computed, by itself, in reasonable time."""
        try:
            cls.of(network, shapes, [blob], MOST_PRODUCTS)
        except NumpyError:
            return False
        return True

    @np.errstate(all="ignore")  # Untrained weights overflow; in Caffe as well.
    def run(
        self, feed: Feed, found: Mapping[str, F32], rounded: Rounded | None = None
    ) -> Mapping[str, F32]:
        """The blobs for one picture; NumpyError where a layer can't be computed for it.

        `found` are the file's blobs. Where a layer jumps, it is computed from those, which are
        compared themselves: otherwise a rounding error would look like a wrong index. `rounded`
        moves the values in between, but not those.
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
            elif rounded:
                bottoms = [rounded.bottom(layer.name, bottom) for bottom in bottoms]
            try:
                made = formula.compute(layer, bottoms)
            except (IndexError, ValueError) as error:
                # Such as a Reshape to the prototxt's own batch, where a picture has batch 1.
                raise NumpyError(f"layer {layer.name}: {error}") from error
            # NumPy makes a number of an array without axes.
            tops = [np.asarray(made)] if isinstance(made, np.ndarray | np.floating) else made
            for top, value in zip(layer.tops, tops, strict=True):
                if rounded and formula.inner:
                    value = rounded.top(value, formula.inner(layer, bottoms))
                values[top] = value
                if top in self.blobs:
                    results[top] = value.astype(np.float32)
            readers.subtract(layer.bottoms)
            for name in (*layer.bottoms, *layer.tops):
                if not readers[name]:
                    values.pop(name, None)
        return results

    @np.errstate(all="ignore")  # As in `run`.
    def rounding(self, feed: Feed, found: Mapping[str, F32]) -> Mapping[str, tuple[float, float]]:
        """How far rounding to float32 may move each blob, and the largest value it depends on.

        It follows from the weights as we read them alone, so an error in the file can't widen it.
        """
        exact = self.run(feed, found)
        amounts = dict.fromkeys(exact, 0.0)
        largest: dict[str, float] = {}
        for seed in SEEDS:
            rounded = Rounded(np.random.default_rng(seed))
            for blob, moved in self.run(feed, found, rounded).items():
                away = float(np.abs(moved - exact[blob]).max(initial=0.0))
                amounts[blob] = float(np.fmax(amounts[blob], ROUNDINGS * away))
            largest = {
                layer: max(largest.get(layer, 0.0), value)
                for layer, value in rounded.largest.items()
            }

        def read(blob: str) -> float:
            layers = needed_for(self.network, [blob]).layers
            return max((largest.get(layer.name, 0.0) for layer in layers), default=0.0)

        return {blob: (amount, read(blob)) for blob, amount in amounts.items()}


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
