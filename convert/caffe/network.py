"""A Caffe network as data: layers in order, every value named once, weights attached."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from convert.caffe import (
    alignment,
    attach,
    caffe_pb2,
    inputs,
    legacy,
    nvidia,
    parameters,
    phases,
    prototxt,
    roles,
    values,
    weights,
)
from convert.caffe.diagnostics import CaffeError, Diagnostic
from geometry.arrays import F32

__all__ = ["CaffeError", "Diagnostic", "Layer", "Network", "load", "read"]

_PHASES = {"TRAIN": caffe_pb2.TRAIN, "TEST": caffe_pb2.TEST}


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
    """The shapes of the inputs as the prototxt gives them; the first is the image, if there is one.

    An image has the shape [batch, channels, height, width].
    """
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...] = field(default=())
    """Tops that no layer consumes, in order."""
    warnings: tuple[Diagnostic, ...] = field(default=())
    """Oddities that are no errors, such as unknown fields and surplus weights."""
    training_layers: tuple[Layer, ...] = field(default=())
    """The data, loss and evaluation layers of the phase. `layers` doesn't have them.

    Their bottoms and tops are blob names, such as `label`.
    """
    fixed_batch: bool = False
    """Whether the first dimension of the inputs keeps its size, instead of any number of images."""


def load(
    prototxt_path: Path,
    caffemodel_path: Path | None,
    *,
    phase: Literal["TEST", "TRAIN"] = "TEST",
    input_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    stages: Sequence[str] = (),
    level: int | None = None,
) -> Network:
    """Read a network and its weights; without a caffemodel the layers have no blobs.

    `phase` is "TEST" or "TRAIN". `stages` are added to those that the prototxt's `state` names, and
    `level` replaces its level. `input_size`, a side or (height, width) in pixels, replaces that
    of the prototxt's image inputs. A data layer becomes the input that it would feed; `channels`
    are those of its images, and of an input without a shape, where the prototxt doesn't state them
    (default: what the weights need, or 3).
    Layers of loss, accuracy and evaluation become `training_layers`. The weights may lack layers.

    Raises CaffeError with every problem of the prototxt's structure at once, and with those of the
    weights: blobs that contradict themselves, a damaged file.
    """
    network, problems = read(
        prototxt_path,
        caffemodel_path,
        phase=phase,
        input_size=input_size,
        channels=channels,
        stages=stages,
        level=level,
    )
    if problems:
        raise CaffeError(str(prototxt_path), problems)
    return network


def read(
    prototxt_path: Path,
    caffemodel_path: Path | None,
    *,
    phase: Literal["TEST", "TRAIN"] = "TEST",
    input_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    stages: Sequence[str] = (),
    level: int | None = None,
) -> tuple[Network, list[Diagnostic]]:
    """What `load` reads, and the problems that it would raise.

    With problems the network is only good for finding more of them: bottoms may have no maker, and
    inputs and weights may be missing. Raises CaffeError only for a text that isn't a prototxt.
    """
    parsed = prototxt.read(Path(prototxt_path), caffe_pb2.NetParameter, defer=("layer", "layers"))
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    stored, failure = None, None
    try:
        stored = None if caffemodel_path is None else weights.read_all(Path(caffemodel_path))
    except CaffeError as error:
        # Go on with the prototxt, so that its problems are reported too.
        failure = error
    state = caffe_pb2.NetState()
    state.CopyFrom(parsed.message.state)
    state.phase = _PHASES[phase]
    state.stage.extend(stages)
    if level is not None:
        state.level = level
    network, problems = _assemble(parsed, state, size, channels, stored)
    if isinstance(failure, weights.NoWeightsError):
        # Some networks need none: the translation knows.
        network = replace(
            network, warnings=(*network.warnings, *_of_file(failure, caffemodel_path))
        )
    elif failure:
        problems += _of_file(failure, caffemodel_path)
    return network, problems


def _of_file(error: CaffeError, path: Path | None) -> list[Diagnostic]:
    return [Diagnostic(f"{path}: {each}") for each in error.diagnostics]


def _assemble(
    parsed: prototxt.Parsed[caffe_pb2.NetParameter],
    state: caffe_pb2.NetState,
    size: tuple[int, int] | None,
    channels: int | None,
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
    selected, more = phases.select(entries, state)
    problems += more
    warnings += phases.left_out(
        [entry for entry in entries if not roles.serves_training(entry.parameter)], state
    )
    selected = [*inputs.unsized(parsed), *selected]
    declared, more = inputs.declared(parsed, size)
    problems += more
    blobs = {layer.name: layer.blobs for layer in stored.layers} if stored else {}
    cast = roles.assign(
        entries, selected, declared, blobs, size, channels, state.phase == caffe_pb2.TRAIN
    )
    problems += cast.problems
    warnings += cast.warnings
    problems += inputs.check_size(size)
    resolved = values.resolve(cast.computing, [*cast.inputs, *cast.unsized], cast.absent)
    problems += resolved.problems
    aligned, more = alignment.align(cast.computing, resolved.bottoms, resolved.tops)
    # A blob that nothing makes leads nowhere.
    problems += [] if resolved.problems else more
    attached, odd_weights, odd_blobs = attach.attach(cast.computing, stored)
    problems += odd_blobs
    warnings += odd_weights
    layers = tuple(
        Layer(
            layer.name,
            layer.type,
            entry.line,
            bottoms,
            tops,
            *nvidia.current(layer, stored_blobs),
        )
        for entry, layer, bottoms, tops, stored_blobs in zip(
            cast.computing, aligned, resolved.bottoms, resolved.tops, attached, strict=True
        )
    )
    training_layers = tuple(
        Layer(layer.name, layer.type, entry.line, tuple(layer.bottom), tuple(layer.top), layer)
        for entry, layer in ((entry, entry.parameter) for entry in cast.training_only)
    )
    for layer in layers:
        problems += [
            Diagnostic(f"{path} is {value:g}: give a finite number", layer.line, layer=layer.name)
            for path, value in parameters.not_finite(layer.parameter)
        ]
    shapes, more = _read_inputs(inputs.resized(cast.inputs, size), layers)
    warnings += more
    return (
        Network(net.name, shapes, layers, resolved.outputs, tuple(warnings), training_layers),
        problems,
    )


def _read_inputs(
    shapes: Mapping[str, tuple[int, ...]], layers: Sequence[Layer]
) -> tuple[dict[str, tuple[int, ...]], list[Diagnostic]]:
    """The inputs that a layer reads, the image first, and a warning for each of the others.

    A network whose layers read no input keeps all of them.
    """
    needed = {bottom for layer in layers for bottom in layer.bottoms}
    kept = {name: shape for name, shape in shapes.items() if name in needed}
    image = next((name for name, shape in kept.items() if inputs.is_image(shape)), None)
    if image is not None:
        kept = {image: kept[image], **kept}
    if not kept:
        return dict(shapes), []
    unread = [name for name in shapes if name not in needed]
    return kept, [Diagnostic(f"input {name} is left out: no layer reads it") for name in unread]
