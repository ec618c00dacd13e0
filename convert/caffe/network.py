"""A Caffe network as data: layers in order, every value named once, weights attached."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from convert.caffe import attach, caffe_pb2, inputs, legacy, phases, prototxt, values, weights
from convert.caffe.diagnostics import CaffeError, Diagnostic
from convert.caffe.legacy import Entry
from geometry.arrays import F32

__all__ = ["CaffeError", "Diagnostic", "Layer", "Network", "load"]

_PHASES = {"TRAIN": caffe_pb2.TRAIN, "TEST": caffe_pb2.TEST}
_METRICS = frozenset(["Accuracy", "DetectionEvaluate", "HDF5Output", "SoftmaxWithLoss"])


@dataclass(frozen=True)
class Layer:
    """One layer of a network, in the current (V2) form whatever the file's form was.

    `bottoms` and `tops` are value names: a layer that Caffe runs in place gets a top of its own
    (`Conv@Conv/bn`), and only the last version of a blob keeps the plain name, so that each value
    is made once. A network input keeps its name, so all later versions of it are `data@LAYER`.
    `blobs` are float32 arrays in the shapes of the weights file.
    """

    name: str
    type: str
    line: int
    """The line of the prototxt on which the layer starts, 1-based."""
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    parameter: caffe_pb2.LayerParameter
    blobs: tuple[F32, ...] = ()


@dataclass(frozen=True)
class Network:
    """Layers in the order Caffe runs them, for one phase."""

    name: str
    inputs: Mapping[str, tuple[int, ...]]
    """Shapes [batch, channels, height, width] of the inputs, as the prototxt gives them."""
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...] = field(default=())
    """Tops that no layer consumes, in order."""
    warnings: tuple[Diagnostic, ...] = field(default=())
    """What is odd but not wrong: unknown fields, surplus weights."""
    training_layers: tuple[Layer, ...] = field(default=())
    """The data, loss and evaluation layers of the phase, left out of `layers`.

    Their bottoms are value names where such a value exists, else blob names (such as `label`).
    """


def load(
    prototxt_path: Path,
    caffemodel_path: Path | None,
    *,
    phase: Literal["TEST", "TRAIN"] = "TEST",
    input_size: int | tuple[int, int] | None = None,
    stages: Sequence[str] = (),
    level: int = 0,
) -> Network:
    """Read a network and its weights; without a caffemodel the layers have no blobs.

    `phase` is "TEST" or "TRAIN". `input_size`, a side or (height, width) in pixels, replaces that
    of the prototxt's image inputs. A data layer becomes the input that it would feed; layers of
    loss, accuracy and evaluation are set aside. The weights may lack layers.

    Raises CaffeError with every problem of the prototxt's structure at once, and with those of the
    weights: blobs that contradict themselves, a damaged file.
    """
    parsed = prototxt.read(Path(prototxt_path), caffe_pb2.NetParameter)
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    stored = None
    found: list[Diagnostic] = []
    try:
        stored = None if caffemodel_path is None else weights.read_all(Path(caffemodel_path))
    except CaffeError as error:
        # Still look at the prototxt, and tell both.
        found = [Diagnostic(f"{caffemodel_path}: {problem}") for problem in error.diagnostics]
    state = caffe_pb2.NetState()
    state.CopyFrom(parsed.message.state)
    state.phase = _PHASES[phase]
    state.stage.extend(stages)
    state.level = level or state.level
    network, problems = _assemble(parsed, state, size, stored)
    if problems or found:
        raise CaffeError(str(prototxt_path), [*problems, *found])
    return network


def _assemble(
    parsed: prototxt.Parsed[caffe_pb2.NetParameter],
    state: caffe_pb2.NetState,
    size: tuple[int, int] | None,
    stored: weights.Weights | None,
) -> tuple[Network, list[Diagnostic]]:
    net = parsed.message
    warnings = list(parsed.warnings)
    entries, problems = legacy.entries(parsed)
    if not entries:
        odd = {problem.message.split()[2] for problem in parsed.warnings[:50]}
        solver = odd & {"base_lr", "lr_policy", "train_net", "net", "max_iter"}
        what = "this is a solver; give the deploy.prototxt" if solver else "it has no layers"
        return Network(net.name, {}, ()), [Diagnostic(what)]
    entries, more = phases.select(entries, state)
    problems += more
    shapes, more = inputs.declared(parsed)
    problems += more
    absent: dict[str, str] = {}
    kept: list[Entry] = []
    training_only: list[Entry] = []
    for entry in entries:
        layer = entry.parameter
        if not layer.type:
            problems.append(Diagnostic("has no type", entry.line, layer=layer.name))
        if layer.type == "Input" or layer.type in inputs.DATA_TYPES:
            is_data = layer.type != "Input"
            more_shapes, more = (
                inputs.of_data_layer(entry, size) if is_data else inputs.of_input_layer(entry)
            )
            problems += more
            problems += [
                Diagnostic(f"top {name} is already an input", entry.line, layer=layer.name)
                for name in more_shapes
                if name in shapes
            ]
            shapes.update(more_shapes)
            if is_data:
                training_only.append(entry)
                absent.update(dict.fromkeys(layer.top[1:], layer.name))
        elif _is_metric(layer) or (layer.bottom and set(layer.bottom) <= set(absent)):
            training_only.append(entry)
            absent.update(dict.fromkeys(layer.top, layer.name))
        else:
            kept.append(entry)
    resolved = values.resolve(kept, shapes, absent)
    problems += resolved.problems
    shapes = inputs.resized(shapes, size)
    problems += inputs.check_size(size)
    attached, odd_weights, odd_blobs = attach.attach(kept, stored)
    problems += odd_blobs
    warnings += odd_weights
    layers = [
        Layer(layer.name, layer.type, line, bottoms, tops, layer, blobs)
        for (layer, line), bottoms, tops, blobs in zip(
            kept, resolved.bottoms, resolved.tops, attached, strict=True
        )
    ]
    training_layers = tuple(
        Layer(layer.name, layer.type, line, tuple(layer.bottom), tuple(layer.top), layer)
        for layer, line in training_only
    )
    network = Network(
        net.name, shapes, tuple(layers), resolved.outputs, tuple(warnings), training_layers
    )
    return network, problems


def _is_metric(layer: caffe_pb2.LayerParameter) -> bool:
    return layer.type in _METRICS or layer.type.endswith("Loss")
