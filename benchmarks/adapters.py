"""Detectors of other projects behind one interface: a letterboxed picture to boxes and scores."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime

from benchmarks.arithmetic import Size, size
from detection.letterbox import letterbox
from geometry.arrays import F32, U8
from geometry.boxes import clip
from geometry.nms import nms
from sfd.errors import SfdError
from training.data.images import MEAN_RGB, opened, upright
from training.evaluation.curves import Detections
from training.evaluation.fingerprint import code
from training.evaluation.predictor import Done

SIDE = 640
"""Of the letterbox, in pixels."""


@dataclass(frozen=True)
class Adapter:
    """A detector of another project, as a Predictor (`training.evaluation.predictor`)."""

    name: str
    version: str
    default_score: float
    """Its own project's."""
    nms_iou: float
    side: int
    """Of its letterbox."""
    run: Callable[[U8], object]
    """The network alone, on pixels [side, side, 3] RGB: what is timed."""
    candidates: Callable[[U8, float], tuple[F32, F32]]
    """Boxes [N, 4] as corners in pixels of the input, and scores [N], before NMS. YuNet and
    CenterFace take an input of any size in steps of 32."""
    size: Size
    fingerprint: str

    def predict(self, files: Sequence[Path], min_score: float, done: Done) -> list[Detections]:
        """See Predictor."""
        found = []
        for index, file in enumerate(files):
            with opened(file) as image:
                picture = upright(image)
            pixels, place = letterbox(picture, self.side, self.side, 3, MEAN_RGB)
            boxes, scores = self.candidates(pixels, min_score)
            kept = nms(boxes, scores, self.nms_iou)
            placed = place.to_image(boxes[kept].astype(np.float64) / self.side)
            inside = clip(placed, *picture.size)
            found.append(Detections(inside.astype(np.float64), scores[kept].astype(np.float64)))
            done(index, found[-1])
        return found

    def blank(self) -> U8:
        """A picture of the mean colour, for timing."""
        return _blank(self.side)

    def close(self) -> None:
        """Do nothing: the network needs no end."""


def yunet(path: Path, threads: int = 1) -> Adapter:
    """YuNet of libfacedetection.train, as an ONNX file of dynamic size without postprocessing.

    Input: BGR, 0-255. Outputs for the strides 8, 16 and 32: `cls`, `obj` [1, N, 1] and `bbox`
    [1, N, 4]. Score: the square root of cls · obj. Centre: (cell + d₀₁) · stride. Width and
    height: exp(d₂₃) · stride.
    """
    network = _read(path)
    session = _session(network, threads)
    strides = (8, 16, 32)
    names = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in strides]
    lacking = set(names) - {each.name for each in session.get_outputs()}
    if lacking:
        raise SfdError(f"{path}: has no output {', '.join(sorted(lacking))}, so it is not YuNet")

    def feed(pixels: U8) -> dict[str, F32]:
        return {"input": _planes(pixels[..., ::-1])}

    def candidates(pixels: U8, min_score: float) -> tuple[F32, F32]:
        outputs = dict(zip(names, session.run(names, feed(pixels)), strict=True))
        boxes, scores = [], []
        for stride in strides:
            cls, obj, box = (outputs[f"{kind}_{stride}"][0] for kind in ("cls", "obj", "bbox"))
            score = np.sqrt(cls.clip(0, 1) * obj.clip(0, 1))[:, 0]
            above = np.flatnonzero(score > min_score)
            columns = pixels.shape[1] // stride
            cells = np.stack([above % columns, above // columns], 1)
            centre = (cells + box[above, :2]) * stride
            half = np.exp(box[above, 2:]) * stride / 2
            boxes.append(np.concatenate([centre - half, centre + half], 1))
            scores.append(score[above])
        return np.concatenate(boxes).astype(np.float32), np.concatenate(scores)

    return Adapter(
        name="yunet-n",
        version=path.name,
        default_score=0.6,
        nms_iou=0.45,
        side=SIDE,
        run=lambda pixels: session.run(names, feed(pixels)),
        candidates=candidates,
        size=size(network, feed(_blank(SIDE))),
        fingerprint=_fingerprint(path),
    )


def centerface(path: Path, threads: int = 1) -> Adapter:
    """CenterFace (arXiv:1911.03599), as the ONNX file that its authors published.

    Input: RGB, 0-255. Outputs at a quarter of the size: the heatmap, the logarithms of height and
    width, the offsets of y and x. A box's centre is (cell + offset + 0.5) · 4.
    """
    network = _read(path)
    names = ["537", "538", "539", "540"]
    own = [each for each in network.graph.input if each.name == "input.1"]
    if not own or [each.name for each in network.graph.output] != names:
        raise SfdError(f"{path}: has other inputs or outputs than CenterFace")
    # The file says 10 images of 32 × 32 pixels, but the network is fully convolutional.
    for value in (*own, *network.graph.output):
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_{axis}"
    session = _session(network, threads)

    def feed(pixels: U8) -> dict[str, F32]:
        return {"input.1": _planes(pixels)}

    def candidates(pixels: U8, min_score: float) -> tuple[F32, F32]:
        heat, scale, offset, _ = session.run(names, feed(pixels))
        rows, columns = np.nonzero(heat[0, 0] > min_score)
        centre = np.stack([columns, rows], 1) + offset[0][::-1, rows, columns].T + 0.5
        half = np.exp(scale[0][::-1, rows, columns].T) * 2
        boxes = np.concatenate([centre * 4 - half, centre * 4 + half], 1)
        height, width = pixels.shape[:2]
        return clip(boxes, width, height).astype(np.float32), heat[0, 0, rows, columns]

    return Adapter(
        name="centerface",
        version=path.name,
        default_score=0.5,
        nms_iou=0.3,
        side=SIDE,
        run=lambda pixels: session.run(names, feed(pixels)),
        candidates=candidates,
        size=size(network, feed(_blank(SIDE))),
        fingerprint=_fingerprint(path),
    )


def res10(deploy: Path, weights: Path, threads: int = 1) -> Adapter:
    """OpenCV's SSD on ResNet-10, run by OpenCV at its own 300 × 300 pixels.

    Input: BGR minus 104, 177, 123, the mean of OpenCV's own sample. Its DetectionOutput layer has
    the NMS.
    """
    cv2.setNumThreads(threads)
    try:
        net = cv2.dnn.readNetFromCaffe(str(deploy), str(weights))
    except cv2.error as error:
        reason = " ".join(str(error).split())[:200]
        raise SfdError(f"OpenCV cannot read {deploy}: {reason}") from error
    side = 300
    shape = (1, 3, side, side)

    def run(pixels: U8) -> F32:
        net.setInput(cv2.dnn.blobFromImage(pixels, mean=(104, 177, 123), swapRB=True))
        return np.asarray(net.forward(), np.float32)

    def candidates(pixels: U8, min_score: float) -> tuple[F32, F32]:
        rows = run(pixels).reshape(-1, 7)
        kept = rows[rows[:, 2] > min_score]
        return kept[:, 3:] * side, kept[:, 2]

    held, _ = net.getMemoryConsumption(shape)
    return Adapter(
        name="opencv-res10-300",
        version=weights.name,
        default_score=0.5,
        nms_iou=0.45,
        side=side,
        run=run,
        candidates=candidates,
        size=Size(held // 4, net.getFLOPS(shape) // 2),
        fingerprint=_fingerprint(deploy, weights),
    )


def _read(path: Path) -> onnx.ModelProto:
    try:
        network = onnx.load(str(path))
    except Exception as error:
        # protobuf and onnx share no base class of their errors.
        raise SfdError(f"{path}: can't be read as an ONNX file: {error}") from error
    # Old files list weights as inputs too, and then onnxruntime does not fold them. It warns of
    # each weight that is not used.
    weights = {each.name for each in network.graph.initializer}
    inputs = [each for each in network.graph.input if each.name not in weights]
    del network.graph.input[:]
    network.graph.input.extend(inputs)
    used = {name for node in network.graph.node for name in node.input}
    kept = [each for each in network.graph.initializer if each.name in used]
    del network.graph.initializer[:]
    network.graph.initializer.extend(kept)
    return network


def _session(network: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        network.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _planes(pixels: U8) -> F32:
    """[1, 3, H, W] of pixels [H, W, 3]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def _blank(side: int) -> U8:
    return np.full((side, side, 3), MEAN_RGB, np.uint8)


def _fingerprint(*paths: Path) -> str:
    """A hash of the detector's files, of the code and of the libraries that run it."""
    digest = hashlib.sha256(f"{code()} {cv2.__version__}".encode())
    for path in (*paths, Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
