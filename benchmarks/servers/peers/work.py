"""The work that every peer does: an image file to faces, with Pillow, NumPy and onnxruntime.

It gives the same boxes as the service. The service also checks files for attacks and decodes them
in processes of their own; the peers are spared that.
"""

from io import BytesIO
from typing import TypedDict

import numpy as np
from PIL import Image, ImageOps

from benchmarks.servers.peers.setup import Setup
from detection.letterbox import letterbox
from geometry.arrays import U8, Floats
from geometry.boxes import clip
from geometry.letterbox import Letterbox
from geometry.nms import nms


class Box(TypedDict):
    """A box in pixels of the image."""

    x: float
    y: float
    width: float
    height: float


class Face(TypedDict):
    """A face, as in the service's answer."""

    box: Box
    score: float


class Answer(TypedDict):
    """What a peer answers: the part of the service's answer that is compared."""

    faces: list[Face]


class Detector:
    """One session of onnxruntime with one thread."""

    def __init__(self, setup: Setup) -> None:
        # The OpenCV peer uses this module too, but not onnxruntime.
        import onnxruntime

        self.setup = setup
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            setup.onnx, options, providers=["CPUExecutionProvider"]
        )

    def detect(self, data: bytes) -> Answer:
        """The faces of an image file."""
        pixels, placement = prepare(data, self.setup)
        boxes, scores = self.session.run(["boxes", "scores"], {"images": pixels[None]})
        return select(boxes[0], scores[0, :, 0], placement, self.setup)


def prepare(data: bytes, setup: Setup) -> tuple[U8, Letterbox]:
    """The network's input [height, width, 3] in RGB, and the position of the image in it."""
    with Image.open(BytesIO(data)) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    return letterbox(image, setup.width, setup.height, 3, setup.background)


def select(boxes: Floats, scores: Floats, placement: Letterbox, setup: Setup) -> Answer:
    """The faces among `boxes` [priors, 4], fractions of the input, with `scores` [priors]."""
    above = np.flatnonzero(scores > np.float32(setup.score))
    kept = above[nms(boxes[above], scores[above], setup.nms_iou, setup.top_k, setup.keep_top_k)]
    return answer(boxes[kept], scores[kept], placement)


def answer(boxes: Floats, scores: Floats, placement: Letterbox) -> Answer:
    """The answer for `boxes` [faces, 4] in fractions of the input and `scores` [faces]."""
    pixels = clip(placement.to_image(boxes), placement.image_width, placement.image_height)
    faces: list[Face] = [
        {
            "box": {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
            "score": score,
        }
        for (x1, y1, x2, y2), score in zip(pixels.tolist(), scores.tolist(), strict=True)
    ]
    return {"faces": faces}
