"""The work on one image file, with all that it needs; it runs in a worker or in a thread."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detection import images, rendering
from detection.letterbox import Colour, Pixels, letterbox
from detection.rendering import Style
from detection.tiles import Tile, crop, layout
from geometry.letterbox import Letterbox

Check = Callable[[], None]
"""Called now and then during long work; it may raise to stop it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image as the network takes it.

    One picture for the whole image and one for each tile, with its placement, and the seconds that
    decoding and preprocessing took.
    """

    tiles: Sequence[Tile]
    pictures: Sequence[Pixels]
    placements: Sequence[Letterbox]
    decode: float
    preprocess: float


@dataclass(frozen=True, slots=True)
class Prepare:
    """Decode a file, cut it into tiles and letterbox each for the network."""

    width: int
    height: int
    channels: int
    background: Colour
    max_pixels: int
    most_tiles: int
    oversampling: int | None
    """A JPEG is decoded at the smallest scale at which it is still this many times as large as the
    network's input; None for full scale."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of each picture."""
        return self.height, self.width, self.channels

    @property
    def most_files(self) -> int:
        """Files in the result."""
        return 0

    def run(self, data: bytes) -> Prepared:
        """Raises RequestError."""
        started = time.perf_counter()
        box = None
        # Tiles are cut at full resolution.
        if self.oversampling is not None and self.most_tiles == 1:
            box = self.oversampling * self.width, self.oversampling * self.height
        picture = images.decode_to_fit(
            data, box, max_pixels=self.max_pixels, background=self.background
        )
        decoded = time.perf_counter()
        tiles = layout(picture.width, picture.height, self.width, self.height, self.most_tiles)
        # Tiles are cut from the upright picture. Without tiles it is turned once it is small.
        several = len(tiles) > 1
        image, turn = (picture.upright(), None) if several else (picture.stored, picture.turn)
        pictures, placements = [], []
        for tile in tiles:
            pixels, placement = letterbox(
                crop(image, tile) if several else image,
                self.width,
                self.height,
                self.channels,
                self.background,
                turn=turn,
                reduction=picture.reduction,
                full_size=(tile.width, tile.height),
            )
            pictures.append(pixels)
            placements.append(placement)
        preprocess = time.perf_counter() - decoded
        return Prepared(tiles, pictures, placements, decoded - started, preprocess)


@dataclass(frozen=True, slots=True)
class Draw:
    """Draw or hide the faces of a file, and encode the picture."""

    boxes: Sequence[Sequence[float]]
    """x1, y1, x2, y2 of each face, in pixels of the upright image."""
    scores: Sequence[float]
    style: Style
    format: str
    """Pillow's name: PNG, JPEG or another that it can write."""
    background: Colour
    max_pixels: int

    @property
    def most_files(self) -> int:
        """Files in the result."""
        return 1

    def run(self, data: bytes, check: Check = lambda: None) -> list[bytes]:
        """One file. Raises RequestError."""
        picture = rendering.draw(
            data,
            _boxes(self.boxes),
            np.asarray(self.scores, np.float64),
            self.style,
            max_pixels=self.max_pixels,
            background=self.background,
            check=check,
        )
        return [rendering.encode(picture, self.format)]


@dataclass(frozen=True, slots=True)
class Crop:
    """Cut the faces out of a file, each as a JPEG file."""

    boxes: Sequence[Sequence[float]]
    """As in Draw."""
    margin: float
    size: int
    most_bytes: int
    """No further face is cut after so many bytes."""
    background: Colour
    max_pixels: int

    @property
    def most_files(self) -> int:
        """Files in the result."""
        return len(self.boxes)

    def run(self, data: bytes, check: Check = lambda: None) -> list[bytes]:
        """A file for each face, in order. Raises RequestError."""
        return list(self._crops(data, check))

    def _crops(self, data: bytes, check: Check) -> Iterator[bytes]:
        size = 0
        for each in rendering.crops(
            data,
            _boxes(self.boxes),
            margin=self.margin,
            size=self.size,
            max_pixels=self.max_pixels,
            background=self.background,
        ):
            check()
            yield each
            size += len(each)
            if size > self.most_bytes:
                return


def _boxes(values: Sequence[Sequence[float]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.asarray(values, np.float64).reshape(-1, 4)
