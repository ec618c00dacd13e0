"""The pictures of a verification as the inputs of a network, and as the inputs of its file."""

from collections.abc import Mapping, Sequence

import numpy as np

from convert.graph import BATCH, Array
from convert.outputs.kinds import DATA, Built, Kind
from convert.outputs.preprocessing import IMAGES, Preprocessing
from convert.translate import TIME, input_shapes
from convert.verify.inputs import SEED, pictures, single_shape
from convert.verify.opencv import Feed
from geometry.arrays import F32, U8


class Feeds:
    """What each picture is for the network, and for the file that was made of it."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self._shapes = input_shapes(built.network)
        first = next(iter(built.network.inputs.values()))
        self.size: tuple[int, int] = (first[2], first[3]) if len(first) == 4 else (1, 1)
        """Height and width of the image; 1 and 1 where the network takes none."""
        channels = first[1] if len(first) == 4 else 1
        self._images = pictures(channels, *self.size)

    def names(self) -> list[str]:
        """The names of the pictures."""
        return list(self._images)

    def for_network(self, picture: str) -> Feed:
        """The inputs of the network by name, with batch 1."""
        return {
            name: self._input(picture, position, name)
            for position, name in enumerate(self._built.network.inputs)
        }

    def for_file(self, picture: str) -> Mapping[str, Array]:
        """The inputs of the file by name, with batch 1."""
        if self._built.kind is not Kind.RAW:
            return {IMAGES: self._images[picture][None]}
        feed = self.for_network(picture)
        return {DATA: next(iter(feed.values()))} if len(feed) == 1 else feed

    def batch(self, names: Sequence[str]) -> Mapping[str, Array] | None:
        """The inputs of the file for several pictures at once.

        None where the first axis of an input counts neither pictures nor regions of interest.
        """
        if any(
            shape[0] == TIME or not isinstance(shape[0], str) for shape in self._shapes.values()
        ):
            return None
        singles = [self.for_file(name) for name in names]
        batch: dict[str, Array] = {}
        for name in singles[0]:
            arrays = [single[name] for single in singles]
            if self._is_rois(name):
                arrays = [_of_image(rois, index) for index, rois in enumerate(arrays)]
            batch[name] = np.concatenate(arrays)
        return batch

    def _is_rois(self, name: str) -> bool:
        return self._shapes.get(name, (BATCH,))[0] not in (BATCH, TIME)

    def _input(self, picture: str, position: int, name: str) -> F32:
        """One input of the network for a picture."""
        shape = single_shape(self._built.network, name)
        if len(shape) == 4 and self._shapes[name][0] == BATCH:
            if position == 0:
                return caffe_input(self._built, self._images[picture])
            channels, height, width = shape[1:]
            images = pictures(channels, height, width, seed=SEED + position)
            # Darker: equal images would hide which input is which.
            return caffe_input(self._built, images[picture] // np.uint8(position + 1))
        random = np.random.default_rng([SEED, position, self.names().index(picture)])
        height, width = self.size
        if self._is_rois(name) and shape[-1] == 5:
            return _rois(random, shape[0], height, width).reshape(shape)
        if "info" in name and len(shape) == 2:
            # Height, width and scale of the image, as Faster R-CNN's layers read them.
            info = np.ones(shape, np.float32)
            info[:, : min(2, shape[1])] = [height, width][: shape[1]]
            return info
        if self._shapes[name][0] == TIME and len(shape) == 2:
            # Whether a sequence goes on: LSTM and RNN start anew at 0.
            goes_on = np.ones(shape, np.float32)
            goes_on[0] = 0
            return goes_on
        return _vector(random, picture, shape)


def caffe_input(built: Built, image: U8) -> F32:
    """A picture as the blob [1, C, H, W] that Caffe would be fed."""
    channels = image.shape[2]
    if built.preprocessing:
        return built.preprocessing.apply(image[None])
    if channels in (1, 3):
        return Preprocessing.of(channels).apply(image[None])
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) - 128)


def _of_image(rois: Array, index: int) -> Array:
    """The same regions of another image of the batch."""
    moved = rois.copy()
    moved.reshape(len(moved), -1)[:, 0] = index
    return moved


def _rois(random: np.random.Generator, count: int, height: int, width: int) -> F32:
    """Regions as rows of image, x1, y1, x2, y2 in pixels; the first is the whole image."""
    corners = random.uniform(0, [width - 1, height - 1], (count, 2, 2))
    corners.sort(axis=1)
    rois = np.concatenate([np.zeros((count, 1)), corners.reshape(count, 4)], axis=1)
    rois[0] = [0, 0, 0, width - 1, height - 1]
    return rois.astype(np.float32)


def _vector(random: np.random.Generator, picture: str, shape: tuple[int, ...]) -> F32:
    """An input that is no image: numbers of about 1 in the manner of the picture."""
    values = random.normal(size=shape)
    if picture == "constant":
        values = np.full(shape, 0.5)
    elif picture == "gradient":
        values = np.linspace(-1, 1, values.size).reshape(shape)
    elif picture == "impulse":
        values = np.zeros(shape)
        values.reshape(-1)[values.size // 3] = 1
    return values.astype(np.float32)
