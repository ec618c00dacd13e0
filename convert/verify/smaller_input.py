"""Rebuilds a graph for a smaller input, to verify a fully convolutional network with a large one.

The activations of a few layers at 2,400 x 2,400 pixels take gigabytes. If a smaller input gives the
same nodes with the same constants, verifying the smaller graph verifies the file.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from onnx import ModelProto, TensorProto

from convert.outputs.kinds import Built
from convert.storage import StoredModel
from sfd.errors import SfdError

MAX_ELEMENTS = 1 << 25
"""If an image's largest blob has more elements (128 MiB of float32), a smaller input is tried."""
_TARGETS = (256, 512, 1024)
_PERIOD = 64
"""Sizes that differ by a multiple of the product of all strides are padded alike."""

Inputs = Mapping[str, tuple[int, ...]]


def reduced(
    built: Built, store: StoredModel, whole: ModelProto, rebuild: Callable[[Inputs], Built]
) -> Built | None:
    """The graph for a smaller input, its weights in the stored file; None if the graph differs.

    `whole` is the model with its weights. `rebuild` builds it for other shapes of its inputs. None
    also if the input is not too large.
    """
    largest = max(
        (
            math.prod(dim for dim in shape if isinstance(dim, int))
            for shape in built.shapes.values()
        ),
        default=0,
    )
    if largest <= MAX_ELEMENTS:
        return None
    for target in _TARGETS:
        inputs = {name: _smaller(shape, target) for name, shape in built.network.inputs.items()}
        if inputs == dict(built.network.inputs):
            continue
        try:
            small = rebuild(inputs)
        except SfdError:
            continue  # too small for a layer
        if _same_graph(whole, small.model):
            return replace(small, model=_light(store.light, small.model), folder=store.folder)
    return None


def _smaller(shape: tuple[int, ...], target: int) -> tuple[int, ...]:
    if len(shape) != 4:
        return shape
    sides = (min(side, target + (side - target) % _PERIOD) for side in shape[2:])
    return (*shape[:2], *sides)


def _same_graph(one: ModelProto, other: ModelProto) -> bool:
    """Whether the nodes and all constants except sizes are equal.

    Sizes are integers, as Reshape, Slice and Resize read them. The shapes that follow from them
    are checked without running anything: ONNX's own check compares them with Caffe's.
    """
    if list(one.graph.node) != list(other.graph.node):
        return False
    if len(one.graph.initializer) != len(other.graph.initializer):
        return False
    return all(
        ours == theirs
        or (
            ours.data_type == theirs.data_type == TensorProto.INT64
            and (ours.name, ours.dims) == (theirs.name, theirs.dims)
        )
        for ours, theirs in zip(one.graph.initializer, other.graph.initializer, strict=True)
    )


def _light(light: ModelProto, small: ModelProto) -> ModelProto:
    """The smaller model with its large tensors in the stored file."""
    model = ModelProto()
    model.CopyFrom(light)
    for field in ("input", "output", "value_info"):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(getattr(small.graph, field))
    for tensor, sizes in zip(model.graph.initializer, small.graph.initializer, strict=True):
        if sizes.data_type == TensorProto.INT64:
            tensor.CopyFrom(sizes)
    return model
