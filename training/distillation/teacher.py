"""A teacher: a detector whose predictions a student learns, run by onnxruntime."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import onnxruntime
import torch
from torch import Tensor

from convert.caffe.network import CaffeError, Diagnostic, Network
from convert.fold import fold
from convert.graph import GraphBuilder
from convert.outputs.kinds import check_input
from convert.translate import build_graph
from training.network.heads import Heads, find_heads


class Teacher(Protocol):
    """What a teacher must have. A CaffeNetwork in eval mode is also a teacher."""

    @property
    def source(self) -> Network:
        """The Caffe network."""

    @property
    def heads(self) -> Heads | None:
        """Names and meaning of its outputs."""

    def detect(self, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [N, P, 4], logits [N, P, classes] and priors [P, 8] of `data` [N, C, H, W]."""


class OnnxTeacher:
    """A Caffe network in onnxruntime, converted for each size of input.

    onnxruntime takes a third to four fifths of the time of torch.
    """

    def __init__(self, network: Network) -> None:
        check_input(network)
        found = find_heads(network)
        if found is None:
            problem = Diagnostic("has no detection or loss layer, so it can't be a teacher")
            raise CaffeError(network.name or "network", [problem])
        self.source = network
        self.heads = found
        self._sessions: dict[tuple[int, ...], onnxruntime.InferenceSession] = {}

    def detect(self, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See Teacher."""
        size = tuple(data.shape[1:])
        if size not in self._sessions:
            self._sessions[size] = _open(self.source, self.heads, size)
        [name] = self.source.inputs
        made = self._sessions[size].run(None, {name: data.contiguous().numpy()})
        codes, logits, priors = map(torch.from_numpy, made)
        flat = priors.reshape(2, -1, 4)
        return (
            codes.reshape(len(data), -1, 4),
            logits.reshape(len(data), -1, self.heads.classes),
            torch.cat([flat[0], flat[1]], dim=1),
        )


def _open(network: Network, heads: Heads, size: Sequence[int]) -> onnxruntime.InferenceSession:
    layers = tuple(layer for layer in network.layers if layer.type != "DetectionOutput")
    [name] = network.inputs
    graph = GraphBuilder()
    resized = replace(network, inputs={name: (1, *size)}, layers=layers)
    build_graph(resized, graph)
    # The outputs keep their names. A new name could be that of another blob.
    for value in (graph.blobs[blob] for blob in (heads.codes, heads.logits, heads.priors)):
        graph.output(value.name, value)
    fold(graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait must not spin: the student needs the processor.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        graph.model(network.name or "teacher").SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
