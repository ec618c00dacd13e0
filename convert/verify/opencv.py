"""OpenCV 4's own Caffe importer as a reference.

OpenCV gets the weights file as it is, so that our reading of it is checked too, and the prototxt as
convert.verify.opencv_copy writes it.
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from google.protobuf.message import EncodeError

from convert.caffe import blobs as encoding
from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network
from convert.verify.opencv_copy import opencv_copy
from convert.verify.rewrites.piece import Shapes
from geometry.arrays import F32
from sfd import extras
from sfd.files import scratch
from sfd.terminal import is_utf8

Feed = Mapping[str, F32]
"""One picture as the inputs of the network, by name, with batch 1."""

INSTALL = (
    f"install OpenCV 4 to have conversions verified: {extras.install('verify')} "
    "(OpenCV 5 has no Caffe importer)"
)


Weights = bytes | Path
"""A caffemodel, or its content."""


class OpenCVError(Exception):
    """OpenCV can't run this network; the message is OpenCV's reason."""


def opencv() -> ModuleType:
    """The module cv2; OpenCVError where it is missing or has no Caffe importer."""
    try:
        module = importlib.import_module("cv2")
        found = bool(module.dnn.readNetFromCaffe)
    except (ImportError, AttributeError):
        found = False
    if not found:
        raise OpenCVError(INSTALL)
    return module


class OpenCVNetwork:
    """A network in OpenCV, or the part of it that some blobs need."""

    def __init__(
        self, network: Network, shapes: Shapes, weights: Weights, blobs: Sequence[str]
    ) -> None:
        self._cv2 = opencv()
        part = needed_for(network, blobs)
        copy = opencv_copy(part, shapes)
        self._inputs = list(part.inputs)
        self._makers = copy.makers
        self.blobs = [blob for blob in blobs if blob in self._makers]
        self._prototxt = copy.prototxt.encode()
        if copy.added and isinstance(weights, Path):
            weights = weights.read_bytes()
        self._weights = weights if isinstance(weights, Path) else weights + copy.added
        self._nets: dict[bool, Any] = {}
        self._first: tuple[Feed, bool, Mapping[str, F32]] | None = None

    def run(self, feed: Feed, *, winograd: bool = False) -> Mapping[str, F32]:
        """The blobs for one picture; OpenCVError where OpenCV fails.

        Convolutions are plain sums, which is more exact, or use Winograd's transform, which is
        OpenCV's default. The first answer is kept, since the first picture is asked for twice.
        """
        if self._first is not None and self._first[0] is feed and self._first[1] is winograd:
            return self._first[2]
        if winograd not in self._nets:
            self._nets[winograd] = self._read(winograd)
        net = self._nets[winograd]
        known = set(net.getLayerNames())
        makers = {blob: self._makers[blob] for blob in self.blobs}
        layers = {
            blob: maker.layer if maker.layer in known else maker.blob
            for blob, maker in makers.items()
        }
        names = list(dict.fromkeys(layers.values()))
        with _quiet(self._cv2):
            try:
                for name in self._inputs:
                    net.setInput(feed[name], name)
                answers = dict(zip(names, net.forwardAndRetrieve(names), strict=True))
            except self._cv2.error as error:
                raise OpenCVError(_reason(error)) from error
        # Copies: OpenCV reuses its buffers in the next run.
        made = {
            blob: np.array(answers[layers[blob]][maker.position], np.float32)
            for blob, maker in makers.items()
        }
        self._first = self._first or (feed, winograd, made)
        return made

    def _read(self, winograd: bool) -> Any:
        """A network of its own for each way: it keeps the way of its first run."""
        with _quiet(self._cv2):
            try:
                net = self._parse()
            except self._cv2.error as error:
                raise OpenCVError(_reason(error)) from error
            net.enableWinograd(winograd)
            return net

    def _parse(self) -> Any:
        read = self._cv2.dnn.readNetFromCaffe
        if isinstance(self._weights, Path):
            # From the file itself OpenCV needs less memory.
            with scratch("opencv") as folder:
                prototxt = Path(folder) / "deploy.prototxt"
                # It crashes on a path that is not UTF-8.
                if is_utf8(prototxt) and is_utf8(self._weights):
                    prototxt.write_bytes(self._prototxt)
                    return read(str(prototxt), str(self._weights))
        weights = self._weights.read_bytes() if isinstance(self._weights, Path) else self._weights
        # As arrays of bytes: OpenCV takes `bytes` for paths.
        return read(*(np.frombuffer(file, np.uint8) for file in (self._prototxt, weights)))

    def release(self) -> None:
        """Free the memory of the network. The next run reads it again."""
        self._nets.clear()


@dataclass(frozen=True, slots=True)
class OpenCVReference:
    """OpenCV's answers for as many blobs as it can compute."""

    networks: tuple[OpenCVNetwork, ...]
    """Each computes some of the blobs."""
    name: str
    """For the report."""
    missing: Mapping[str, str]
    """Blobs that OpenCV can't compute, with its reason."""

    @property
    def blobs(self) -> list[str]:
        """The blobs that OpenCV can compute."""
        return [blob for network in self.networks for blob in network.blobs]

    def run(self, feed: Feed, *, winograd: bool = False) -> Mapping[str, F32]:
        """The blobs for one picture; OpenCVError where OpenCV fails."""
        return {
            blob: array
            for network in self.networks
            for blob, array in network.run(feed, winograd=winograd).items()
        }

    def release(self) -> None:
        """Free the memory of the networks. The next run reads them again."""
        for network in self.networks:
            network.release()


def opencv_reference(
    network: Network,
    shapes: Shapes,
    weights: Weights,
    blobs: Sequence[str],
    probe: Feed,
    *,
    winograd: bool = False,
) -> OpenCVReference:
    """OpenCV with as much of the network as it can run.

    Best is the whole network with the file's own weights. If OpenCV can't read that file, it gets
    the weights as we read them; if it can't run the network, it gets each blob alone, because an
    unknown layer may concern one output only. `probe` is a picture to try them on, `winograd` says
    how it convolves. Raises OpenCVError if there is no OpenCV 4.
    """
    name = f"OpenCV {opencv().__version__}"
    try:
        return OpenCVReference(
            (_tried(network, shapes, weights, blobs, probe, winograd),), name, {}
        )
    except OpenCVError:
        file = _encoded(network) or weights
    try:
        by = f"{name}, weights re-encoded"
        return OpenCVReference((_tried(network, shapes, file, blobs, probe, winograd),), by, {})
    except OpenCVError:
        networks: list[OpenCVNetwork] = []
        missing: dict[str, str] = {}
    for blob in blobs:
        try:
            networks.append(_tried(network, shapes, file, [blob], probe, winograd))
        except OpenCVError as error:
            missing[blob] = str(error)
    return OpenCVReference(tuple(networks), f"{name}, in part", missing)


def needed_for(network: Network, blobs: Iterable[str]) -> Network:
    """The network with only the layers that these blobs depend on."""
    wanted = set(blobs)
    layers: list[Layer] = []
    for layer in reversed(network.layers):
        if wanted.intersection(layer.tops):
            wanted.update(layer.bottoms)
            layers.append(layer)
    inputs = {name: shape for name, shape in network.inputs.items() if name in wanted}
    return replace(network, layers=tuple(layers[::-1]), inputs=inputs or network.inputs)


def _tried(
    network: Network,
    shapes: Shapes,
    weights: Weights,
    blobs: Sequence[str],
    probe: Feed,
    winograd: bool,
) -> OpenCVNetwork:
    made = OpenCVNetwork(network, shapes, weights, blobs)
    made.run(probe, winograd=winograd)
    return made


def _encoded(network: Network) -> bytes | None:
    """The weights as we read them, as a plain caffemodel; None if they exceed protobuf's 2 GiB."""
    message = caffe_pb2.NetParameter(name=network.name)
    for layer in network.layers:
        if layer.blobs:
            entry = message.layer.add(name=layer.name, type=layer.type)
            for array in layer.blobs:
                entry.blobs.append(encoding.encode(array))
    try:
        return message.SerializeToString()
    except (EncodeError, ValueError):
        return None


class _quiet:  # noqa: N801 (a context manager, named as it reads)
    """Within this block OpenCV does not print an error before it raises it."""

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
