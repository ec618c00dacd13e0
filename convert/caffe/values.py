"""From blob names to values, each of which is made once.

Source: Net::AppendBottom and Net::AppendTop (src/caffe/net.cpp), and InsertSplits
(src/caffe/util/insert_splits.cpp), which gives each reader of a blob the version it saw.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from convert.caffe import data_layers
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.legacy import Entry


@dataclass(frozen=True)
class Resolved:
    """The bottoms and tops of each layer as value names, and the values that no layer reads."""

    bottoms: list[tuple[str, ...]] = field(default_factory=list)
    tops: list[tuple[str, ...]] = field(default_factory=list)
    outputs: tuple[str, ...] = ()
    problems: list[Diagnostic] = field(default_factory=list)


@dataclass
class _Value:
    blob: str
    maker: str
    is_input: bool = False
    is_missing: bool = False
    is_read: bool = False
    name: str = ""


def resolve(
    entries: Sequence[Entry], inputs: Iterable[str], absent: Mapping[str, Entry]
) -> Resolved:
    """Give every version of every blob a name of its own.

    A layer is in place where its n-th top has the name of its n-th bottom. The last version of a
    blob keeps the blob's name, an earlier one is `BLOB@LAYER` after the layer that makes it; a
    network input always keeps its name. `absent` has blobs that exist only in training, and the
    layer that would make them.
    """
    versions: dict[str, list[_Value]] = {name: [_Value(name, "", is_input=True)] for name in inputs}
    later = {top: entry for entry in reversed(entries) for top in entry.parameter.top}
    problems: list[Diagnostic] = []
    bottoms: list[list[_Value]] = []
    tops: list[list[_Value]] = []
    for entry in entries:
        layer = entry.parameter
        reads: list[_Value] = []
        for blob in layer.bottom:
            if blob not in versions:
                text = _undefined(blob, versions, later, absent)
                problems.append(Diagnostic(text, entry.line, layer=layer.name))
                # Known from here on, so that one mistake is reported once.
                versions[blob] = [_Value(blob, "", is_missing=True)]
            versions[blob][-1].is_read = True
            reads.append(versions[blob][-1])
        makes: list[_Value] = []
        for index, blob in enumerate(layer.top):
            in_place = index < len(layer.bottom) and layer.bottom[index] == blob
            if blob in versions and not in_place and not versions[blob][0].is_missing:
                text = f"top {blob} is already made by {_maker(versions[blob][0])}; rename one"
                problems.append(Diagnostic(text, entry.line, layer=layer.name))
            value = _Value(blob, layer.name)
            versions.setdefault(blob, []).append(value)
            makes.append(value)
        bottoms.append(reads)
        tops.append(makes)
    _name(versions)
    return Resolved(
        [tuple(value.name for value in values) for values in bottoms],
        [tuple(value.name for value in values) for values in tops],
        tuple(value.name for values in tops for value in values if not value.is_read),
        problems,
    )


def _name(versions: Mapping[str, Sequence[_Value]]) -> None:
    taken: Counter[str] = Counter(versions.keys())
    for blob, values in versions.items():
        for value in values:
            keeps = value.is_input or (value is values[-1] and not values[0].is_input)
            if keeps:
                value.name = blob
                continue
            name = f"{blob}@{value.maker}"
            taken[name] += 1
            value.name = name if taken[name] == 1 else f"{name}#{taken[name]}"


def _maker(value: _Value) -> str:
    return "the network's input" if value.is_input else f"layer {value.maker}"


def _undefined(
    blob: str,
    versions: Mapping[str, object],
    later: Mapping[str, Entry],
    absent: Mapping[str, Entry],
) -> str:
    if blob in absent:
        layer = absent[blob].parameter
        text = f"bottom {blob} exists only in training, where layer {layer.name} makes it"
        if data_layers.is_data_layer(layer):
            text += "; if the network needs it later, put an Input layer for each top in its place"
        return text
    if blob in later:
        maker = later[blob]
        where = f"layer {maker.parameter.name} on line {maker.line}"
        return f"bottom {blob} is made later, by {where}; layers run in the order of the file"
    close = difflib.get_close_matches(blob, list(versions), n=1)
    hint = f"; did you mean {close[0]}?" if close else "; add the layer or input that makes it"
    return f"nothing makes bottom {blob}{hint}"
