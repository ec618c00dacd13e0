"""What each layer of a prototxt is for: it gives an input, it computes, or it serves training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from convert.caffe import caffe_pb2, data_layers, inputs
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.inputs import Shape, Size
from convert.caffe.legacy import Entry
from convert.caffe.weights import Blobs

_METRICS = frozenset(["BoxAnnotatorOHEM", "EvalDetection", "HDF5Output", "WarpCTC"])
_METRIC_WORDS = ("Accuracy", "Evaluate", "Loss")
"""Parts of the names of losses and metrics: forks have many, such as SoftmaxWithLossOHEM."""


@dataclass
class Roles:
    """The layers of one phase by what they are for, and the inputs of the network."""

    inputs: dict[str, Shape] = field(default_factory=dict)
    unsized: set[str] = field(default_factory=set)
    """Inputs whose shape is unknown, which `problems` has."""
    computing: list[Entry] = field(default_factory=list)
    training_only: list[Entry] = field(default_factory=list)
    """Data layers, metrics and losses, and layers that only work on labels."""
    absent: dict[str, Entry] = field(default_factory=dict)
    """Blobs that exist only in training, such as `label`, and the layer that makes each."""
    problems: list[Diagnostic] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)


def assign(
    entries: Sequence[Entry],
    selected: Sequence[Entry],
    declared: Mapping[str, Shape],
    blobs: Mapping[str, Blobs],
    size: Size | None,
    channels: int | None,
    training: bool,
) -> Roles:
    """Give each of the `selected` layers its role; `entries` are the layers of all phases.

    `declared` are the top-level inputs, `blobs` the weights by layer name. `size` and `channels`
    are what the user said about images. In `training` a loss must be as sound as any layer.
    """
    roles = Roles(inputs=dict(declared))
    feeding: list[Entry] = []
    shapeless: list[Entry] = []
    for entry in selected:
        layer = entry.parameter
        if not layer.type and not entry.errors:
            roles.problems.append(Diagnostic("has no type", entry.line, layer=layer.name))
        if layer.type == "Input" and inputs.states_no_shape(layer):
            shapeless.append(entry)
        elif layer.type == "Input":
            _add_inputs(roles, entry, *inputs.of_input_layer(entry, size))
        elif data_layers.is_data_layer(layer):
            feeding.append(entry)
            roles.absent.update(dict.fromkeys(layer.top[1:], entry))
            roles.training_only.append(entry)
        elif _is_metric(layer) or (layer.bottom and set(layer.bottom) <= set(roles.absent)):
            softmax = _softmax_of(entry, selected)
            made = layer.top[:1] if softmax else layer.top
            roles.computing += softmax
            roles.training_only.append(entry)
            roles.absent.update(dict.fromkeys(made, entry))
        else:
            roles.computing.append(entry)
    if len(shapeless) == 1 and not roles.inputs and not feeding:
        # The only input: an image of any size.
        feeding = shapeless
    else:
        for entry in shapeless:
            _add_inputs(roles, entry, *inputs.of_input_layer(entry, size))
            roles.unsized.update(set(entry.parameter.top) - set(roles.inputs))
    feeding += _of_other_phases(roles, entries, selected, feeding)
    for entry in feeding:
        _add_inputs(roles, entry, *_fed(entry, roles.computing, blobs, size, channels))
        roles.unsized.update(set(entry.parameter.top[:1]) - set(roles.inputs))
    _settle_dummies(roles, size)
    _drop_labels(roles, blobs)
    makers = [entry for entry in selected if entry.parameter.type in ("Input", "DummyData")]
    _sort_errors(roles, entries, selected if training else [*roles.computing, *makers])
    return roles


def serves_training(layer: caffe_pb2.LayerParameter) -> bool:
    """Whether the layer only reads data, or is a loss or a metric."""
    return data_layers.is_data_layer(layer) or _is_metric(layer)


def _is_metric(layer: caffe_pb2.LayerParameter) -> bool:
    return layer.type in _METRICS or any(word in layer.type for word in _METRIC_WORDS)


def _softmax_of(entry: Entry, selected: Sequence[Entry]) -> list[Entry]:
    """The Softmax layer within a SoftmaxWithLoss, if a layer other than a metric reads its result.

    The second top of the loss is the softmax of its first bottom (softmax_loss_layer.cpp).
    """
    loss = entry.parameter
    if loss.type != "SoftmaxWithLoss" or len(loss.top) < 2 or not loss.bottom:
        return []
    readers = (each.parameter for each in selected if loss.top[1] in each.parameter.bottom)
    if all(map(_is_metric, readers)):
        return []
    softmax = caffe_pb2.LayerParameter(
        name=loss.name, type="Softmax", bottom=loss.bottom[:1], top=loss.top[1:2]
    )
    if loss.HasField("softmax_param"):
        softmax.softmax_param.CopyFrom(loss.softmax_param)
    return [entry._replace(parameter=softmax, errors=())]


def _add_inputs(
    roles: Roles, entry: Entry, shapes: Mapping[str, Shape], problems: Iterable[Diagnostic]
) -> None:
    roles.problems += problems
    roles.problems += [
        Diagnostic(
            f"top {name} is already an input", entry.line, layer=entry.parameter.name or None
        )
        for name in shapes
        if name in roles.inputs
    ]
    roles.inputs.update(shapes)


def _of_other_phases(
    roles: Roles, entries: Sequence[Entry], selected: Sequence[Entry], feeding: Sequence[Entry]
) -> list[Entry]:
    """Data layers of the other phase that make a blob which this phase reads and nothing makes.

    A train.prototxt often has a data layer for the training phase only.
    """
    here = {id(entry.parameter) for entry in selected}
    made = {*roles.inputs, *roles.absent, *(entry.parameter.top[0] for entry in feeding)}
    made.update(top for entry in roles.computing for top in entry.parameter.top)
    read = {bottom for entry in roles.computing for bottom in entry.parameter.bottom}
    found: list[Entry] = []
    for entry in entries:
        layer = entry.parameter
        if id(layer) in here or not data_layers.is_data_layer(layer) or not layer.top:
            continue
        if layer.top[0] in read - made:
            made.add(layer.top[0])
            roles.absent.update({top: entry for top in layer.top[1:] if top not in roles.absent})
            text = f"input {layer.top[0]} is what this layer of the other phase would read"
            roles.warnings.append(Diagnostic(text, entry.line, layer=layer.name))
            roles.training_only.append(entry)
            found.append(entry)
    return found


def _fed(
    entry: Entry,
    computing: Sequence[Entry],
    blobs: Mapping[str, Blobs],
    size: Size | None,
    channels: int | None,
) -> tuple[dict[str, Shape], list[Diagnostic]]:
    """The input that a data layer, or an Input layer without a shape, stands for."""
    layer = entry.parameter
    size = size or data_layers.stated_size(layer)
    behind = [other.parameter for other in computing]
    top = layer.top[0] if layer.top else ""
    if size is None and layer.type == "HDF5Data":
        features = data_layers.fed_features(top, behind, blobs)
        if features:
            return {top: (1, features)}, []
    count = data_layers.stated_channels(layer) or channels
    count = count or data_layers.fed_channels(top, size, behind, blobs) or 3
    return inputs.of_data_layer(entry, size, count)


def _settle_dummies(roles: Roles, size: Size | None) -> None:
    """Make a DummyData layer an input, unless it is a constant beside the network's inputs.

    Caffe's benchmarks feed a network from DummyData. A network with an input of its own takes
    constants from it.
    """
    dummies = [entry for entry in roles.computing if entry.parameter.type == "DummyData"]
    if roles.inputs:
        dummies = [entry for entry in dummies if not data_layers.is_constant(entry.parameter)]
    if not dummies:
        return
    fed = {id(entry.parameter) for entry in dummies}
    roles.computing = [entry for entry in roles.computing if id(entry.parameter) not in fed]
    read = {bottom for entry in roles.computing for bottom in entry.parameter.bottom}
    for entry in dummies:
        shapes, problems = inputs.of_dummy_layer(entry, size)
        needed = {name: shape for name, shape in shapes.items() if name in read}
        labels = [top for top in entry.parameter.top if top not in needed]
        roles.absent.update(dict.fromkeys(labels, entry))
        roles.training_only.append(entry)
        _add_inputs(roles, entry, needed, problems)


def _drop_labels(roles: Roles, blobs: Mapping[str, Blobs]) -> None:
    """Drop the declared inputs that only losses and metrics read, such as `label`."""
    for name in list(roles.inputs)[1:]:
        depending = _depending_alone(name, roles.computing, blobs)
        if depending is None:
            continue
        made = {name, *(top for entry in depending for top in entry.parameter.top)}
        if not any(made.intersection(entry.parameter.bottom) for entry in roles.training_only):
            continue
        del roles.inputs[name]
        gone = {id(entry.parameter) for entry in depending}
        roles.computing = [entry for entry in roles.computing if id(entry.parameter) not in gone]
        roles.training_only += depending


def _depending_alone(
    name: str, computing: Sequence[Entry], blobs: Mapping[str, Blobs]
) -> list[Entry] | None:
    """The layers that depend on one input only; None if the network needs what they make."""
    made, found = {name}, []
    for entry in computing:
        layer = entry.parameter
        if layer.bottom and made.issuperset(layer.bottom):
            if layer.param or blobs.get(layer.name):  # It learns: a branch of the network.
                return None
            made.update(layer.top)
            found.append(entry)
        elif made.intersection(layer.bottom):
            return None
    return found


def _sort_errors(roles: Roles, entries: Sequence[Entry], used: Sequence[Entry]) -> None:
    """Make wrong values problems in the layers that are used, and warnings in the others."""
    counting = {id(entry.parameter) for entry in used}
    for entry in entries:
        if id(entry.parameter) in counting:
            roles.problems += entry.errors
            continue
        for error in entry.errors:
            text = f"{error.message} (ignored: the layer serves training only)"
            warning = Diagnostic(text, error.line, error.column, entry.parameter.name)
            roles.warnings.append(warning)
