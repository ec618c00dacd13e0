"""Reads a frozen graph: its constants by name, and the epsilons of its BatchNorm nodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from convert.caffe.diagnostics import CaffeError, Diagnostic
from convert.files import MAX_PROTOBUF, read_bytes
from convert.tensorflow.graph_pb2 import GraphDef, NodeDef

FUSED_BATCH_NORM_EPSILON = 1e-4
"""The operator's default. An exporter may leave out an epsilon that equals it."""

_FUSED_BATCH_NORMS = frozenset(["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"])
_VARIABLES = frozenset(["Variable", "VariableV2", "VarHandleOp"])
_MAX_HOPS = 16
_FROZEN = "give the frozen graph (frozen_inference_graph.pb in the zoo's archives)"


class GraphError(CaffeError):
    """A TensorFlow graph can't be used. Lists every problem, as CaffeError does."""


@dataclass(frozen=True)
class Graph:
    """The weights of a graph."""

    constants: Mapping[str, NodeDef]
    """Const nodes by name. Freezing turns variables into such constants."""
    variables: frozenset[str]
    """Names of variables that were not frozen: their values are not in this file."""
    epsilons: Mapping[str, float]
    """Epsilons of FusedBatchNorm nodes, by the name of their gamma constant."""


def read(path: Path) -> Graph:
    """Read a binary GraphDef.

    Raises GraphError if the file is missing, truncated, or of another kind.
    """
    nodes = {node.name: node for node in _parse(path).node}
    if not nodes:
        raise GraphError(
            str(path), [Diagnostic(f"it has no nodes, so it is not a graph; {_FROZEN}")]
        )
    return Graph(
        constants={name: node for name, node in nodes.items() if node.op == "Const"},
        variables=frozenset(name for name, node in nodes.items() if node.op in _VARIABLES),
        epsilons={
            _source(node.input[1], nodes): _epsilon(node)
            for node in nodes.values()
            if node.op in _FUSED_BATCH_NORMS and len(node.input) > 1
        },
    )


def _parse(path: Path) -> GraphDef:
    data = read_bytes(path, MAX_PROTOBUF, "GraphDef", GraphError)
    kind = _other_kind(data)
    if kind:
        raise GraphError(str(path), [Diagnostic(kind)])
    try:
        return GraphDef.FromString(data)
    except DecodeError as error:
        what = f"not a GraphDef, or truncated or damaged; get it again, or {_FROZEN}"
        raise GraphError(str(path), [Diagnostic(what)]) from error


def _other_kind(data: bytes) -> str:
    """What the file is and what to do, if it is a common mistake; otherwise an empty string."""
    if not data:
        return "an empty file; get it again"
    if data.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the graph; run `git lfs pull`"
    if data.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        return f"a compressed archive; unpack it, and {_FROZEN}"
    if data.startswith(b"\x89HDF"):
        return f"a Keras file, not a graph; {_FROZEN}"
    if data[4:8] == b"TFL3":
        return f"a TensorFlow Lite model, not a graph; {_FROZEN}"
    if b"\0" not in data[:4096] and b"node" in data and b"{" in data:
        return f"a graph as text; {_FROZEN}"
    return ""


def _source(name: str, nodes: Mapping[str, NodeDef]) -> str:
    """The node that an input comes from, past the Identity nodes that freezing leaves."""
    for _ in range(_MAX_HOPS):  # a damaged graph may contain a cycle
        name = name.removeprefix("^").split(":")[0]
        node = nodes.get(name)
        if node is None or node.op != "Identity" or not node.input:
            break
        name = node.input[0]
    return name


def _epsilon(node: NodeDef) -> float:
    return node.attr["epsilon"].f if "epsilon" in node.attr else FUSED_BATCH_NORM_EPSILON
