"""The part of the graph that turns decoded images into the input that Caffe was fed."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from convert.graph import BATCH, GraphBuilder, Value
from geometry.arrays import F32, U8
from sfd.errors import UsageError
from sfd.terminal import counted

IMAGES = "images"
ONLY_RAW = "only `sfd convert --output raw` takes it"
"""What an error says of a network that reads no images, or that is no detector. It names the
command, because `sfd models add` and `pull` have no such option."""
CAFFE_MEAN = (104.0, 117.0, 123.0)
"""The mean colour, blue first, that SSD and SFD subtract."""


class OnlyRawError(UsageError):
    """The network is no detector of pictures, so only one kind of output suits it."""


class ChannelOrder(StrEnum):
    """The order in which a network takes the colours of a pixel."""

    BGR = "bgr"
    RGB = "rgb"
    GRAY = "gray"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pixels become input: (pixel - mean) * scale, as in Caffe's `transform_param`."""

    channel_order: ChannelOrder
    mean: tuple[float, ...]
    """A value for each channel of the network, in the network's channel order."""
    scale: float

    @classmethod
    def of(
        cls,
        channels: int,
        channel_order: ChannelOrder | None = None,
        mean: tuple[float, ...] | None = None,
        scale: float = 1.0,
    ) -> "Preprocessing":
        """The given values, checked against the network, with defaults for those that are None."""
        if channels not in (1, 3):
            raise OnlyRawError(
                f"the network takes {channels} channels, but images have 1 or 3: {ONLY_RAW}"
            )
        order = channel_order or (ChannelOrder.GRAY if channels == 1 else ChannelOrder.BGR)
        if (order is ChannelOrder.GRAY) != (channels == 1):
            raise UsageError(
                f"--channel-order {order} does not fit a network of {counted(channels, 'channel')}"
            )
        if mean is None:
            bgr = CAFFE_MEAN
            mean = {"bgr": bgr, "rgb": bgr[::-1], "gray": (sum(bgr) / 3,)}[order.value]
        if len(mean) == 1:
            mean = mean * channels
        if len(mean) != channels:
            takes = counted(channels, "channel")
            raise UsageError(
                f"--mean has {len(mean)} values, but the network takes {takes}: "
                + ("give one value" if channels == 1 else f"give one value, or {channels}")
            )
        # As the file holds them: beyond float32, a number is infinite, or 0.
        with np.errstate(all="ignore"):
            means, factor = np.asarray(mean, np.float32), np.float32(scale)
        if not np.isfinite(means).all():
            given = ",".join(map(str, mean))
            raise UsageError(f"--mean {given}: a value is not finite in float32")
        if not np.isfinite(factor):
            raise UsageError(f"--scale {scale} is not finite in float32")
        if factor == 0:
            raise UsageError(f"--scale {scale} is 0 in float32; it must not be 0")
        return cls(order, mean, scale)

    def add(self, graph: GraphBuilder, shape: tuple[int, int, int], name: str) -> Value:
        """The graph input `images` uint8 [batch, height, width, channels] as the network's blob.

        `shape` is channels, height, width; the result is float32 [batch, *shape]. Bytes are
        cheaper to move than floats, hence layout and channels change first: 0.84 ms for 640 x 640
        on one core of 2024, and 4.8 ms with the transposition last. Folding mean and channel
        order into the first convolution would save 0.2 ms more, but a mean can't be folded
        exactly where the convolution pads with zeros.
        """
        channels, height, width = shape
        value = graph.input(IMAGES, (BATCH, height, width, channels), np.uint8)
        full = (BATCH, *shape)
        value = graph.node("Transpose", [value], full, dtype=np.uint8, perm=(0, 3, 1, 2))
        if self.channel_order is ChannelOrder.BGR:
            swap = graph.constant(np.asarray([2, 1, 0], np.int64), "channel_order")
            value = graph.node("Gather", [value, swap], full, dtype=np.uint8, axis=1)
        value = graph.node("Cast", [value], full, to=1)
        if any(self.mean):
            value = graph.node("Sub", [value, graph.constant(self._mean(), "mean")], full)
        if self.scale != 1:
            scale = graph.constant(np.asarray(self.scale, np.float32), "scale")
            value = graph.node("Mul", [value, scale], full)
        graph.bind(name, value)
        return value

    def apply(self, images: U8) -> F32:
        """The same in NumPy: `images` [N, H, W, C] RGB as float32 [N, C, H, W]."""
        ordered = images[..., ::-1] if self.channel_order is ChannelOrder.BGR else images
        planes = ordered.transpose(0, 3, 1, 2).astype(np.float32)
        return np.ascontiguousarray((planes - self._mean()) * np.float32(self.scale))

    def _mean(self) -> F32:
        return np.asarray(self.mean, np.float32).reshape(1, -1, 1, 1)
