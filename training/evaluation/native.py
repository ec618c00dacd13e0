"""The predictor that runs a model on images at their own resolution."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from convert.conversion import convert_file
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.outputs.preprocessing import ChannelOrder
from detection.detector import Query, faces_of
from detection.predictions import Predictions
from geometry.boxes import clip
from geometry.letterbox import Letterbox
from sfd.files import scratch
from store import model as models
from store.model import Model
from store.places import locate
from training.data.images import opened, upright, upright_size
from training.evaluation.curves import Detections
from training.evaluation.fingerprint import fingerprint
from training.evaluation.predictor import Done

STEP = 128
"""Inputs are padded to multiples of the family's coarsest stride, so that few sizes occur."""
SESSIONS = 4
"""Number of networks kept open. Each holds its activations in memory."""


@dataclass(frozen=True)
class NativePredictor:
    """A model of the store, converted for each size of image.

    Images are not resized, but padded at the right and bottom.
    """

    model: Model

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.model.version

    @property
    def default_score(self) -> float:
        """Default score of the model."""
        return self.model.thresholds.default_score

    @classmethod
    def open(cls, name: str, store: Path | None) -> "NativePredictor":
        """Find a model and check the hashes of its source files."""
        model = models.load(locate(name, store))
        models.check_sources(model)
        return cls(model)

    @property
    def fingerprint(self) -> str:
        """See Predictor."""
        return fingerprint(self.model, "native")

    def predict(self, files: Sequence[Path], min_score: float, done: Done) -> list[Detections]:
        """See Predictor. Images are sorted by size, so that each network is made once."""
        sizes = [_size(file) for file in files]
        order = sorted(range(len(files)), key=lambda index: (_padded(*sizes[index]), index))
        found: dict[int, Detections] = {}
        with scratch("native") as folder:
            networks = _Networks(self.model, Path(folder))
            for index in order:
                found[index] = self._one(files[index], networks, min_score)
                done(index, found[index])
        return [found[index] for index in range(len(files))]

    def close(self) -> None:
        """Do nothing: no file or network stays open after `predict`."""

    def _one(self, file: Path, networks: "_Networks", min_score: float) -> Detections:
        with opened(file) as image:
            picture = upright(image)
        width, height = _padded(picture.width, picture.height)
        canvas = Image.new("RGB", (width, height), self.model.input.mean_rgb)
        canvas.paste(picture, (0, 0))
        if self.model.input.channels == 1:
            canvas = canvas.convert("L")
        pixels = np.asarray(canvas).reshape(1, height, width, -1)
        boxes, scores = networks.of(width, height).run(["boxes", "scores"], {"images": pixels})
        candidates = Predictions(boxes[0], scores[0, :, 0])
        kept = faces_of(candidates, self.model.thresholds, Query(min_score=min_score))
        size = picture.width, picture.height
        placed = Letterbox(*size, width, height, *size, 0, 0).to_image(candidates.boxes[kept])
        inside = clip(placed, *size).astype(np.float64)
        return Detections(inside, candidates.scores[kept].astype(np.float64))


class _Networks:
    """The networks used last, by input size."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self.sessions: OrderedDict[tuple[int, int], onnxruntime.InferenceSession] = OrderedDict()

    def of(self, width: int, height: int) -> onnxruntime.InferenceSession:
        """The network for an input of this size."""
        key = (width, height)
        if key not in self.sessions:
            path = self.folder / f"{width}x{height}.onnx"
            own = self.model.input
            options = Options(
                output=Kind.HEADS,
                input_size=(height, width),
                channel_order=ChannelOrder(own.channel_order),
                mean=own.mean,
                scale=own.scale,
                verify=False,
            )
            convert_file(self.model.deploy, self.model.weights, path, options)
            self.sessions[key] = onnxruntime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
            while len(self.sessions) > SESSIONS:
                self.sessions.popitem(last=False)
        self.sessions.move_to_end(key)
        return self.sessions[key]


def _size(file: Path) -> tuple[int, int]:
    with opened(file) as image:
        return upright_size(image)


def _padded(width: int, height: int) -> tuple[int, int]:
    return -(-width // STEP) * STEP, -(-height // STEP) * STEP
