"""OpenCV 4's own Caffe importer, running a network to compare ours with.

OpenCV gets the weights file as it is, so that our reading of it is judged too, and the prototxt as
we understood it: the same layers with input size, phase and defaults written out. OpenCV departs
from Caffe in a few defaults, which is why those are always stated.
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from google.protobuf import text_format

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network
from geometry.arrays import F32
from sfd import extras

INSTALL = (
    f"install OpenCV 4 to have conversions verified: {extras.install('verify')} "
    "(OpenCV 5 has no Caffe importer)"
)


class JudgeError(Exception):
    """OpenCV can't run this network; the message is OpenCV's reason."""


def opencv() -> ModuleType:
    """The module cv2; JudgeError where it is missing or has no Caffe importer."""
    try:
        module = importlib.import_module("cv2")
        found = bool(module.dnn.readNetFromCaffe)
    except (ImportError, AttributeError):
        found = False
    if not found:
        raise JudgeError(INSTALL)
    return module


class Judge:
    """A network in OpenCV, or the part of it that some blobs need."""

    def __init__(self, network: Network, weights: bytes, blobs: Sequence[str]) -> None:
        self._cv2 = opencv()
        self._input = next(iter(network.inputs))
        part = needed_for(network, blobs)
        self._makers = {top: (layer.name, index) for layer in part.layers
                        for index, top in enumerate(layer.tops)}  # fmt: skip
        self._blobs = [blob for blob in blobs if blob in self._makers]
        # As arrays of bytes: OpenCV takes `bytes` for paths.
        self._files = [
            np.frombuffer(file, np.uint8) for file in (judged_prototxt(part).encode(), weights)
        ]
        self._nets = {False: self._read(winograd=False)}

    def run(self, data: F32, *, winograd: bool = False) -> Mapping[str, F32]:
        """The blobs for `data` [1, channels, height, width]; JudgeError where OpenCV fails.

        Convolutions are plain sums, which is the more exact way, or use Winograd's transform,
        which is OpenCV's custom.
        """
        if winograd not in self._nets:
            self._nets[winograd] = self._read(winograd)
        net = self._nets[winograd]
        names = list(dict.fromkeys(self._makers[blob][0] for blob in self._blobs))
        with _quiet(self._cv2):
            try:
                net.setInput(data, self._input)
                answers = dict(zip(names, net.forwardAndRetrieve(names), strict=True))
            except self._cv2.error as error:
                raise JudgeError(_reason(error)) from error
        # Copies: OpenCV reuses its buffers in the next run.
        return {
            blob: np.array(answers[self._makers[blob][0]][self._makers[blob][1]], np.float32)
            for blob in self._blobs
        }

    def _read(self, winograd: bool) -> Any:
        """A network of its own for each way: it keeps the way of its first run."""
        with _quiet(self._cv2):
            try:
                net = self._cv2.dnn.readNetFromCaffe(*self._files)
            except self._cv2.error as error:
                raise JudgeError(_reason(error)) from error
            net.enableWinograd(winograd)
            return net


def needed_for(network: Network, blobs: Iterable[str]) -> Network:
    """The network with only the layers that these blobs depend on."""
    wanted = set(blobs)
    layers: list[Layer] = []
    for layer in reversed(network.layers):
        if wanted.intersection(layer.tops):
            wanted.update(layer.bottoms)
            layers.append(layer)
    return replace(network, layers=tuple(layers[::-1]))


def judged_prototxt(network: Network) -> str:
    """The network as prototxt for OpenCV: one name a value, no phases, defaults written out."""
    parameter = caffe_pb2.NetParameter(name=network.name)
    for blob, shape in network.inputs.items():
        parameter.input.append(blob)
        parameter.input_shape.add(dim=(1, *shape[1:]))
    made = set(network.inputs)
    for layer in network.layers:
        if layer.tops and made.issuperset(layer.tops):
            continue  # an Input layer
        made.update(layer.tops)
        message = parameter.layer.add()
        message.CopyFrom(layer.parameter)
        for field in ("bottom", "top", "include", "exclude", "param", "blobs"):
            message.ClearField(field)
        message.name, message.type = layer.name, layer.type
        message.bottom.extend(layer.bottoms)
        message.top.extend(layer.tops)
        _state_defaults(message)
    return text_format.MessageToString(parameter)


def _state_defaults(message: caffe_pb2.LayerParameter) -> None:
    """Say what Caffe assumes where OpenCV assumes otherwise."""
    if message.type == "PriorBox":
        prior = message.prior_box_param
        prior.flip, prior.clip, prior.offset = prior.flip, prior.clip, prior.offset
        if not prior.variance:
            prior.variance.append(0.1)
        for sizes in (prior.min_size, prior.max_size):
            sizes[:] = [float(int(size)) for size in sizes]  # Caffe keeps sizes in an int.
    elif message.type == "DetectionOutput":
        detection = message.detection_output_param
        detection.share_location = detection.share_location
        detection.background_label_id = detection.background_label_id
        detection.code_type = detection.code_type
        detection.nms_param.nms_threshold = detection.nms_param.nms_threshold
        detection.ClearField("save_output_param")
        if not detection.HasField("confidence_threshold"):
            detection.confidence_threshold = float(np.finfo(np.float32).min)
        if detection.keep_top_k < 0:
            detection.keep_top_k = 100_000  # OpenCV allocates that many rows, and can't take -1.


class _quiet:  # noqa: N801 (a context manager, named as it reads)
    """OpenCV prints each error before it raises it: not within this block."""

    def __init__(self, cv2: ModuleType) -> None:
        self._logging: Any = cv2.utils.logging

    def __enter__(self) -> None:
        self._level = self._logging.getLogLevel()
        self._logging.setLogLevel(self._logging.LOG_LEVEL_SILENT)

    def __exit__(self, *_: object) -> None:
        self._logging.setLogLevel(self._level)


def _reason(error: Exception) -> str:
    """OpenCV's message without its file names and lines, and not a whole file that it quotes."""
    text = " ".join(str(error).split())
    return (text.partition("error: ")[2] or text)[:200]
