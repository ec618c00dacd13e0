"""The placement of an image in a network's input: scaled to fit, centred, padded."""

from dataclasses import dataclass

import numpy as np

from geometry.arrays import Floats


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The position of an image in the input; all lengths in pixels.

    The image of `image_width` x `image_height` is resized to `width` x `height` and placed at
    `left`, `top` of an input of `target_width` x `target_height`.
    """

    image_width: int
    image_height: int
    target_width: int
    target_height: int
    width: int
    height: int
    left: int
    top: int

    @classmethod
    def fit(
        cls, image_width: int, image_height: int, target_width: int, target_height: int
    ) -> "Letterbox":
        """The largest placement that keeps the aspect ratio, enlarging small images too.

        An odd pixel of padding goes to the right or bottom. Each side keeps at least one pixel.
        """
        if min(image_width, image_height, target_width, target_height) < 1:
            raise ValueError("an image and an input must have at least one pixel on each side")
        scale = min(target_width / image_width, target_height / image_height)
        width = min(max(round(image_width * scale), 1), target_width)
        height = min(max(round(image_height * scale), 1), target_height)
        left, top = (target_width - width) // 2, (target_height - height) // 2
        return cls(image_width, image_height, target_width, target_height, width, height, left, top)

    def to_image(self, boxes: Floats) -> Floats:
        """`boxes` [N, 4] in fractions of the input, as pixels of the image; not clipped.

        Each axis has its own scale. The resized sides are whole pixels, so with one ratio for both
        axes boxes would be off by up to half a pixel of the input.
        """
        target = np.asarray([self.target_width, self.target_height] * 2, np.float64)
        offset = np.asarray([self.left, self.top] * 2, np.float64)
        pixels = (boxes.astype(np.float64) * target - offset) * self._image_over_input()
        return pixels.astype(boxes.dtype)

    def _image_over_input(self) -> Floats:
        return np.asarray(
            [self.image_width / self.width, self.image_height / self.height] * 2, np.float64
        )
