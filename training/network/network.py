"""A Caffe network in torch, which loads and saves Caffe's weights.

Each layer becomes one operator of `training.network.operators`. A BatchNorm layer and the Scale
layer after it become one operator with the five arrays of both.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from convert.caffe import weights
from convert.caffe.network import CaffeError, Diagnostic, Layer, Network
from convert.layers.registry import LayerError
from convert.layers.weights import repeated
from training.network import operators
from training.network.heads import Heads, find_heads
from training.solver import TrainedParameter


@dataclass(frozen=True)
class Step:
    """The names of an operator and of its inputs and output."""

    name: str
    bottoms: tuple[str, ...]
    top: str


class CaffeNetwork(nn.Module):
    """The layers of a Caffe network in torch, for images of any size that its layers accept.

    `forward` takes `data` float32 [N, C, H, W] as Caffe does, with the mean subtracted, and returns
    the named values. Missing weights are initialised by the prototxt's fillers.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.source = network
        self.heads: Heads | None = find_heads(network)
        self.input = next(iter(network.inputs))
        self.steps: list[Step] = []
        self.operators = nn.ModuleList()
        self._scales = _scale_partners(network.layers)
        scales = {layer.name: layer for layer in network.layers if layer.type == "Scale"}
        merged = set(self._scales.values())
        uses = Counter(bottom for layer in network.layers for bottom in layer.bottoms)
        channels = {name: shape[1] for name, shape in network.inputs.items()}
        problems = repeated(network.layers)
        for layer in network.layers:
            if layer.name in merged or layer.type == "DetectionOutput":
                continue
            problem = _untrainable(layer)
            if problem:
                problems.append(Diagnostic(problem, layer.line, layer=layer.name))
                continue
            if not channels.keys() >= set(layer.bottoms):
                # A layer before it has a problem, so the number of channels is not known.
                continue
            scale = scales.get(self._scales.get(layer.name, ""))
            inputs = [channels[bottom] for bottom in layer.bottoms]
            module = None
            try:
                module = operators.BUILDERS[layer.type](layer, scale, inputs)
                operators.initialise(module, layer, scale)
            except LayerError as error:
                problems += [
                    Diagnostic(message, layer.line, layer=layer.name) for message in error.messages
                ]
            if module is None:
                continue
            if isinstance(module, nn.ReLU) and uses[layer.bottoms[0]] == 1:
                # In place as in Caffe, which makes training considerably faster.
                module.inplace = True
            top = (scale or layer).tops[0]
            channels[top] = operators.out_channels(module, inputs)
            self.steps.append(Step(layer.name, layer.bottoms, top))
            self.operators.append(module)
        if problems:
            raise CaffeError(network.name or "network", problems)
        self._last_use = {
            bottom: index for index, step in enumerate(self.steps) for bottom in step.bottoms
        }

    def forward(self, data: Tensor, wanted: Sequence[str]) -> list[Tensor]:
        """The values named in `wanted`. Others are released as soon as no step needs them."""
        values: dict[str, Tensor] = {self.input: data}
        for index, (step, operator) in enumerate(zip(self.steps, self.operators, strict=True)):
            values[step.top] = operator(*(values[bottom] for bottom in step.bottoms))
            for bottom in step.bottoms:
                if self._last_use[bottom] == index and bottom not in wanted:
                    values.pop(bottom, None)
            if step.top not in self._last_use and step.top not in wanted:
                del values[step.top]
        return [values[name] for name in wanted]

    def detect(self, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [N, P, 4], confidence logits [N, P, classes] and priors [P, 8].

        Priors are corners in fractions of the image, followed by variances.
        """
        if self.heads is None:
            raise CaffeError(self.source.name, [Diagnostic("has no detection or loss layer")])
        heads = self.heads
        codes, logits, priors = self(data, (heads.codes, heads.logits, heads.priors))
        codes = codes.reshape(len(data), -1, 4)
        logits = logits.reshape(len(data), -1, heads.classes)
        flat = priors.reshape(2, -1, 4)
        return codes, logits, torch.cat([flat[0], flat[1]], dim=1)

    def freeze(self) -> "CaffeNetwork":
        """Freeze the running statistics of every BatchNorm, but not its weights; returns self.

        A BatchNorm after a convolution is computed inside it, which saves a third of a step's time.
        """
        for module in self.operators:
            if isinstance(module, operators.BatchNorm):
                module.frozen = True
        for convolution, norm in self._normalised():
            convolution.merge(norm)
            norm.merged = True
        return self

    def _normalised(self) -> Iterator[tuple[operators.Convolution, operators.BatchNorm]]:
        """Each convolution whose output only a BatchNorm reads, with that BatchNorm."""
        readers = Counter(bottom for step in self.steps for bottom in step.bottoms)
        makers = {step.top: index for index, step in enumerate(self.steps)}
        for step, module in zip(self.steps, self.operators, strict=True):
            before = makers.get(step.bottoms[0])
            if not isinstance(module, operators.BatchNorm) or before is None:
                continue
            convolution = self.operators[before]
            if isinstance(convolution, operators.Convolution) and readers[step.bottoms[0]] == 1:
                yield convolution, module

    def refuse_shared(self) -> None:
        """Raise CaffeError for weights that Caffe shares between layers. Here they are copies."""
        owners: dict[str, str] = {}
        problems = []
        for layer in self.source.layers:
            for spec in layer.parameter.param:
                owner = owners.setdefault(spec.name, layer.name)
                if spec.name and owner != layer.name:
                    what = f"shares the weights {spec.name!r} of {owner}, which can't be trained"
                    problems.append(Diagnostic(what, layer.line, layer=layer.name))
        if problems:
            raise CaffeError(self.source.name or "network", problems)

    def trained_parameters(self) -> list[TrainedParameter]:
        """The parameters with the factors of the prototxt's `param` entries."""
        sources = {layer.name: layer for layer in self.source.layers}
        found = []
        for step, module in zip(self.steps, self.operators, strict=True):
            # The trained parameters of a BatchNorm are those of the Scale layer after it.
            source = sources[self._scales.get(step.name, step.name)]
            for index, (part, tensor) in enumerate(module.named_parameters(recurse=False)):
                specs = source.parameter.param
                lr_mult = specs[index].lr_mult if index < len(specs) else 1.0
                decay_mult = specs[index].decay_mult if index < len(specs) else 1.0
                if tensor.requires_grad:
                    found.append(
                        TrainedParameter(f"{step.name}.{part}", tensor, lr_mult, decay_mult)
                    )
        return found

    def layer_blobs(self) -> dict[str, operators.Blobs]:
        """The weights as Caffe stores them, by layer name, in the network's order."""
        blobs: dict[str, operators.Blobs] = {}
        for step, module in zip(self.steps, self.operators, strict=True):
            if isinstance(module, operators.Convolution):
                blobs[step.name] = module.blobs()
            elif isinstance(module, operators.BatchNorm):
                blobs[step.name] = module.blobs()
                if step.name in self._scales:
                    blobs[self._scales[step.name]] = module.scale_blobs()
        return blobs

    def save(self, path: Path) -> None:
        """Write a caffemodel for Caffe and OpenCV."""
        types = {layer.name: layer.type for layer in self.source.layers}
        weights.write(path, self.source.name, self.layer_blobs(), types)


def channels_last(network: CaffeNetwork) -> CaffeNetwork:
    """The network with its weights in the layout of oneDNN's fastest convolutions."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _untrainable(layer: Layer) -> str:
    """Why a layer can't be trained, or an empty text."""
    if layer.type not in operators.BUILDERS:
        known = ", ".join(sorted(operators.BUILDERS))
        return f"type {layer.type} can't be trained; supported types: {known}"
    if len(layer.tops) != 1:
        return "has several tops; the trainer supports one top for each layer"
    return ""


def _scale_partners(layers: Sequence[Layer]) -> dict[str, str]:
    """The names of BatchNorm layers, with the Scale layer that alone reads their output."""
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        for bottom in layer.bottoms:
            readers.setdefault(bottom, []).append(layer)
    pairs = {}
    for layer in layers:
        after = readers.get(layer.tops[0], []) if layer.tops else []
        if (
            layer.type == "BatchNorm"
            and len(after) == 1
            and after[0].type == "Scale"
            and len(after[0].bottoms) == 1
        ):
            pairs[layer.name] = after[0].name
    return pairs
