"""Which layers a network has in one state: the rules of each layer for phase, level and stages.

Source: Net::FilterNet and Net::StateMeetsRule (src/caffe/net.cpp).
"""

from collections.abc import Iterable

from convert.caffe import caffe_pb2
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.legacy import Entry

NAMES_SHOWN = 5


def select(
    entries: Iterable[Entry], state: caffe_pb2.NetState
) -> tuple[list[Entry], list[Diagnostic]]:
    """The layers that `state` includes. A layer with both kinds of rules is a problem."""
    kept: list[Entry] = []
    problems: list[Diagnostic] = []
    for entry in entries:
        layer = entry.parameter
        if layer.include and layer.exclude:
            text = "has include and exclude rules; Caffe accepts only one kind"
            problems.append(Diagnostic(text, entry.line, layer=layer.name))
        elif layer.include:
            if any(meets(state, rule) for rule in layer.include):
                kept.append(entry)
        elif not any(meets(state, rule) for rule in layer.exclude):
            kept.append(entry)
    return kept, problems


def left_out(entries: Iterable[Entry], state: caffe_pb2.NetState) -> list[Diagnostic]:
    """A warning for each set of stages that `state` lacks, with the layers that need it."""
    lacking: dict[str, list[str]] = {}
    for entry in entries:
        layer = entry.parameter
        if any(meets(state, rule) for rule in layer.include):
            continue
        for rule in layer.include:
            wider = caffe_pb2.NetState()
            wider.CopyFrom(state)
            wider.stage.extend(rule.stage)
            if rule.stage and meets(wider, rule):
                missing = sorted(set(rule.stage) - set(state.stage))
                lacking.setdefault(",".join(missing), []).append(layer.name)
                break
    return [
        Diagnostic(
            f"layers left out because of their stage: {', '.join(names[:NAMES_SHOWN])}"
            f"{', …' * (len(names) > NAMES_SHOWN)}; --stage {stages} includes them"
        )
        for stages, names in lacking.items()
    ]


def meets(state: caffe_pb2.NetState, rule: caffe_pb2.NetStateRule) -> bool:
    """Whether every condition of the rule holds. A rule without conditions always holds."""
    return not (
        (rule.HasField("phase") and rule.phase != state.phase)
        or (rule.HasField("min_level") and state.level < rule.min_level)
        or (rule.HasField("max_level") and state.level > rule.max_level)
        or not set(rule.stage) <= set(state.stage)
        or set(rule.not_stage) & set(state.stage)
    )
