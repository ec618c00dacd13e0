"""Pruning: finds channels that no training picture activates, and sets their weights to zero.

Training leaves a ReLU network with channels whose inputs are below zero for every picture ("dead
ReLUs"). They cost as much time as the others. Once their weights are zero, the converter leaves
them out (`convert.prune`), and the network computes the same for pictures that activate none.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from PIL import Image

from convert.caffe import network as caffe_network
from convert.caffe import weights as caffe_weights
from convert.caffe.network import CaffeError, Layer, Network
from convert.outputs.kinds import Built, Kind, build
from convert.outputs.preprocessing import IMAGES, ChannelOrder, Preprocessing
from detection.letterbox import letterbox
from geometry.arrays import F32, U8, Bools
from sfd.errors import SfdError, UsageError
from store.model import Input

SMALL = 0.4
"""The share of the frame's sides that a picture takes in its third view: faces are small there."""
LEAST_CROP, LARGEST_CROP = 0.2, 0.9
"""The side of the second view, a square, as a share of the picture's shorter side."""
_CONVOLUTIONS = frozenset(["Convolution", "ConvolutionDepthwise", "DepthwiseConvolution"])


@dataclass(frozen=True)
class Watched:
    """A ReLU whose channels can be silenced."""

    value: str
    """The ONNX value of its top."""
    layer: Layer
    """The layer before it, whose weights determine what it gets."""
    channels: int


class Activity:
    """Which channels of a network's ReLUs pictures have activated so far."""

    def __init__(
        self,
        deploy: Path,
        weights: Path,
        threads: int,
        *,
        channel_order: ChannelOrder | None = None,
        mean: tuple[float, ...] | None = None,
        scale: float = 1.0,
    ) -> None:
        """Order, mean and scale are those that the network was trained with; see Preprocessing.

        Raises SfdError for a network that is no detector, or has no ReLU to watch.
        """
        network, problems = caffe_network.read(deploy, weights)
        if problems:
            raise CaffeError(str(deploy), problems)
        detectors = sum(layer.type == "DetectionOutput" for layer in network.layers)
        if detectors != 1:
            raise UsageError(
                f"{deploy}: has {detectors or 'no'} DetectionOutput layer{'s' * (detectors > 1)}, "
                "but needs exactly one"
            )
        shapes = list(network.inputs.values())
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (1, 3):
            raise UsageError(
                f"{deploy}: is no network whose only input is an image of 1 or 3 channels"
            )
        _, channels, height, width = shapes[0]
        preprocessing = Preprocessing.of(channels, channel_order, mean, scale)
        self._input = Input(
            height=height,
            width=width,
            channels=1 if channels == 1 else 3,
            channel_order=preprocessing.channel_order.value,
            mean=preprocessing.mean,
        )
        built = build(network, Kind.HEADS, preprocessing, network.name, pruning=False)
        self._watched = _watched(network, built)
        if not self._watched:
            raise SfdError(f"{deploy}: has no ReLU after a layer with weights, so nothing to prune")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            _with_maxima(built.model, [each.value for each in self._watched]).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )
        self._maxima = [np.full(each.channels, -np.inf) for each in self._watched]

    def look(self, image: Image.Image, random: np.random.Generator) -> None:
        """Look at an upright RGB picture: at all of it, at a part enlarged, and at a small copy."""
        for view in self._views(image, random):
            found: Sequence[F32] = self._session.run(None, {IMAGES: view[None]})
            self._maxima = [
                np.maximum(old, new) for old, new in zip(self._maxima, found, strict=True)
            ]

    def dead(self) -> Mapping[str, Bools]:
        """For each layer before a watched ReLU, which channels no picture activated."""
        return {
            each.layer.name: maxima <= 0
            for each, maxima in zip(self._watched, self._maxima, strict=True)
        }

    def _views(self, image: Image.Image, random: np.random.Generator) -> Iterator[U8]:
        yield self._placed(image)
        side = max(round(random.uniform(LEAST_CROP, LARGEST_CROP) * min(image.size)), 1)
        left = int(random.integers(0, image.width - side + 1))
        top = int(random.integers(0, image.height - side + 1))
        crop = self._placed(image.crop((left, top, left + side, top + side)))
        yield crop[:, ::-1].copy() if random.random() < 0.5 else crop
        own = self._input
        width, height = round(own.width * SMALL), round(own.height * SMALL)
        frame = Image.new("RGB", (own.width, own.height), own.mean_rgb)
        frame.paste(Image.fromarray(letterbox(image, width, height, 3, own.mean_rgb)[0]))
        yield self._placed(frame)

    def _placed(self, image: Image.Image) -> U8:
        own = self._input
        return letterbox(image, own.width, own.height, own.channels, own.mean_rgb)[0]


def silenced(
    weights: caffe_weights.Weights, dead: Mapping[str, Bools]
) -> dict[str, tuple[F32, ...]]:
    """The blobs of all layers, with zeros for the dead channels of the layers that have some."""
    made: dict[str, tuple[F32, ...]] = {}
    for layer in weights.layers:
        channels = dead.get(layer.name)
        if channels is None:
            made[layer.name] = layer.blobs
            continue
        blobs = [blob.copy() for blob in layer.blobs]
        for blob in blobs:
            # Old files store a vector as [1, 1, 1, channels].
            blob.reshape(len(channels), -1)[channels] = 0
        made[layer.name] = tuple(blobs)
    return made


def _watched(network: Network, built: Built) -> list[Watched]:
    """The ReLUs that alone read what a layer with weights computes."""
    makers = {top: layer for layer in network.layers for top in layer.tops}
    readers = [bottom for layer in network.layers for bottom in layer.bottoms]
    shared = Counter(
        param.name for layer in network.layers for param in layer.parameter.param if param.name
    )
    found = []
    for layer in network.layers:
        if layer.type not in ("ReLU", "ReLU6") or layer.parameter.relu_param.negative_slope:
            continue
        maker, value = makers.get(layer.bottoms[0]), built.values.get(layer.tops[0])
        shape = built.shapes[layer.tops[0]]
        if (
            maker is not None
            and value is not None
            and readers.count(layer.bottoms[0]) == 1
            and len(shape) == 4
            and _is_affine(maker)
            # Zeros would silence the other layer that has the same weights.
            and not any(shared[param.name] > 1 for param in maker.parameter.param)
        ):
            channels = int(shape[1])
            if all(blob.size % channels == 0 for blob in maker.blobs):
                found.append(Watched(value, maker, channels))
    return found


def _is_affine(layer: Layer) -> bool:
    """Whether an output channel is zero everywhere once the layer's weights for it are zero."""
    if len(layer.bottoms) != 1 or not layer.blobs:
        return False
    if layer.type == "Scale":
        return layer.parameter.scale_param.axis in (1, -3)
    return layer.type in _CONVOLUTIONS


def _with_maxima(model: onnx.ModelProto, values: Sequence[str]) -> onnx.ModelProto:
    """The model with the largest number of each channel of the values as its only outputs."""
    watching = onnx.ModelProto()
    watching.CopyFrom(model)
    del watching.graph.output[:]
    for value in values:
        name = f"{value}/maximum"
        watching.graph.node.append(
            helper.make_node("ReduceMax", [value], [name], axes=[0, 2, 3], keepdims=0)
        )
        watching.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    return watching
