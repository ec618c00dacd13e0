"""Which blobs of a weights file belong to which layer of a network."""

from collections.abc import Sequence

from convert.caffe.blobs import BlobError, decode
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.legacy import Entry
from convert.caffe.weights import Blobs, LayerWeights, Weights

NAMES_SHOWN = 10


def attach(
    entries: Sequence[Entry], stored: Weights | None
) -> tuple[list[Blobs], list[Diagnostic], list[Diagnostic]]:
    """The blobs of each layer, with warnings and problems.

    Blobs go by layer name (Net::CopyTrainedLayersFrom, src/caffe/net.cpp). Layers that share a
    parameter by name all get the copy that Caffe would end up with: the last one in the weights
    file (Net::AppendParam). Without weights, blobs written in the prototxt itself count. A weights
    file may lack layers: the translation knows which layers can't do without.
    """
    problems: list[Diagnostic] = []
    warnings = list(stored.warnings) if stored else []
    by_name = {layer.name: layer for layer in stored.layers} if stored else {}
    result: list[Blobs] = []
    for entry in entries:
        layer = entry.parameter
        own = by_name.get(layer.name)
        if own is None and layer.blobs:
            own = _written_out(entry)
        if own is not None:
            problems += [
                Diagnostic(problem.message, entry.line, layer=layer.name)
                for problem in own.problems
            ]
        result.append(own.blobs if own else ())
    order = {layer.name: index for index, layer in enumerate(stored.layers)} if stored else {}
    _share(entries, result, order, problems, warnings)
    if stored:
        warnings += _surplus(entries, stored)
    return result, warnings, problems


def _written_out(entry: Entry) -> LayerWeights:
    layer, arrays, problems = entry.parameter, [], []
    for index, blob in enumerate(layer.blobs):
        try:
            arrays.append(decode(blob))
        except BlobError as error:
            problems.append(Diagnostic(f"blob {index} of the prototxt: {error}", layer=layer.name))
    return LayerWeights(layer.name, layer.type, tuple(arrays), tuple(problems))


def _share(
    entries: Sequence[Entry],
    result: list[Blobs],
    order: dict[str, int],
    problems: list[Diagnostic],
    warnings: list[Diagnostic],
) -> None:
    """Give all layers that name a parameter the same values for it."""
    sharers: dict[str, list[tuple[int, int]]] = {}
    for index, entry in enumerate(entries):
        for position, spec in enumerate(entry.parameter.param):
            if spec.name:
                sharers.setdefault(spec.name, []).append((index, position))
    for name, places in sharers.items():
        if len(places) < 2:
            continue
        having = [(i, p) for i, p in places if p < len(result[i])]
        if not having:
            continue
        last = max(having, key=lambda place: order.get(entries[place[0]].parameter.name, -1))
        value = result[last[0]][last[1]]
        for index, position in places:
            layer, blobs = entries[index].parameter, list(result[index])
            if position < len(blobs):
                own = blobs[position]
                if own.size != value.size:
                    text = f"shares {name}, of {value.size} values, but its own blob has {own.size}"
                    problems.append(Diagnostic(text, entries[index].line, layer=layer.name))
                    continue
                if own.ravel().tobytes() != value.ravel().tobytes():
                    text = f"shares {name}, but has other values in the file, which are not used"
                    warnings.append(Diagnostic(text, entries[index].line, layer=layer.name))
                blobs[position] = value.reshape(own.shape)
            elif position == len(blobs):
                blobs.append(value)
            else:
                text = f"shares {name} as blob {position}, but has only {len(blobs)} blobs"
                problems.append(Diagnostic(text, entries[index].line, layer=layer.name))
            result[index] = tuple(blobs)


def _surplus(entries: Sequence[Entry], stored: Weights) -> list[Diagnostic]:
    wanted = {entry.parameter.name for entry in entries}
    names = [layer.name for layer in stored.layers if layer.name not in wanted]
    if not names:
        return []
    shown = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
    return [
        Diagnostic(
            f"the weights of {len(names)} layers are not used, because the prototxt has no such "
            f"layers: {shown}"
        )
    ]
