"""Maps each Caffe layer type to the function that translates it.

A handler is a function that takes the layer, the graph under construction and the values of the
layer's bottoms, adds nodes, and returns the values of the tops. It names the value of each top
after the top, and computes its static shape by Caffe's rules. It raises `LayerError` for what it
can't translate. Its docstring says what Caffe computes.

A new layer type is a new module in this package and a test of it; nothing else changes. The
registration says all that others must know of the type: how many bottoms and tops a layer may have,
and whether it needs weights. Two additions are optional. Parameters that the schema lacks go into
convert/caffe/caffe.proto, and a formula in convert.verify.reference lets NumPy verify a layer that
OpenCV can't read.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import convert.layers
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from sfd.packages import import_modules

Weights = bool | Literal["one bottom"]
"""Whether a layer needs blobs: always, never, or unless a second bottom replaces them."""
Translate = Callable[[Layer, GraphBuilder, Sequence[Value]], Value | Sequence[Value]]


class LayerError(Exception):
    """Why a layer can't be translated, and what to do; a layer may have several such reasons."""

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


class BatchError(LayerError):
    """A layer mixes the images of a batch, so it can only be translated for one image at a time."""


@dataclass(frozen=True)
class Handler:
    """How one layer type is translated, and how many bottoms and tops it may have."""

    type: str
    translate: Translate
    bottoms: tuple[int, int | None]
    tops: tuple[int, int | None]
    weights: Weights = False
    refuses: bool = False
    """Whether it only explains why layers of this type can't be translated."""

    def needs_weights(self, layer: Layer) -> bool:
        """Whether a layer of this type needs blobs."""
        return len(layer.bottoms) < 2 if self.weights == "one bottom" else self.weights

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring: what Caffe computes."""
        return (inspect.getdoc(self.translate) or "").partition("\n")[0]


_handlers: dict[str, Handler] = {}


def handler(
    *types: str,
    bottoms: int | tuple[int, int | None] = 1,
    tops: int | tuple[int, int | None] = 1,
    weights: Weights = False,
    refuses: bool = False,
) -> Callable[[Translate], Translate]:
    """Register a function for these layer types.

    A count of bottoms or tops may be a range, whose end is open where it's None. `weights` says
    whether a layer needs blobs: always, never, or with "one bottom" alone. A function that
    `refuses` only raises LayerError, to say what to do about layers of this type.
    """

    def register(translate: Translate) -> Translate:
        for layer_type in types:
            if layer_type in _handlers:
                raise ValueError(f"layer type {layer_type} has two handlers")
            _handlers[layer_type] = Handler(
                layer_type, translate, _range(bottoms), _range(tops), weights, refuses
            )
        return translate

    return register


def handlers() -> dict[str, Handler]:
    """Every handler by layer type, in alphabetical order."""
    import_modules(convert.layers)
    return dict(sorted(_handlers.items()))


def layer_types() -> dict[str, str]:
    """Every layer type that can be translated, with the first line of what Caffe computes."""
    return {name: found.summary for name, found in handlers().items() if not found.refuses}


def _range(count: int | tuple[int, int | None]) -> tuple[int, int | None]:
    return count if isinstance(count, tuple) else (count, count)
