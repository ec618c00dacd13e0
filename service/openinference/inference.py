"""A model's two inputs and what each gives, over the detector's own queue.

image   BYTES [n]                         image files, decoded and letterboxed as by /detect
  -> detections FP32 [faces, 6]           index of the image, x1, y1, x2, y2, score
     num_detections INT32 [n]             how many of them each image has
images  UINT8 [n, height, width, channels]  RGB as the ONNX file takes it, no letterbox
  -> boxes FP32 [n, priors, 4], scores FP32 [n, priors, 1]   as the ONNX file gives them
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection import session
from detection.deadline import all_of, until
from detection.detector import Detection, Detector, Query
from detection.errors import RequestError
from detection.session import Picture
from detection.timings import Timings, slowest
from service.errors import InvalidRequest, PayloadTooLarge
from service.openinference import tensors
from service.openinference.messages import (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    Parameters,
    TensorMetadata,
)
from service.openinference.tensors import Received

FILES, PIXELS = "image", session.INPUT
OUTPUTS: Mapping[str, Mapping[str, str]] = {
    FILES: {"detections": "FP32", "num_detections": "INT32"},
    PIXELS: dict.fromkeys(session.OUTPUTS, "FP32"),
}
"""The outputs of each input in order, and the type of each."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Inferred:
    """All outputs of an input, and the detections behind them where there are any."""

    outputs: Arrays
    detections: Sequence[Detection] = ()

    @property
    def timings(self) -> Timings | None:
        """The stages of the slowest image; None for pixels."""
        if not self.detections:
            return None
        timings = [one.timings for one in self.detections]
        return slowest(timings, max(each.total for each in timings))


async def infer(
    detector: Detector, received: Received, query: Query, deadline: float, max_images: int
) -> Inferred:
    """The outputs of an input. If a file fails, the request fails; the message says which file.

    Raises InvalidRequest, PayloadTooLarge, and what `Detector.detect_all` does.
    """
    if received.tensor.name == FILES:
        return await _infer_files(detector, received, query, deadline, max_images)
    return Inferred(await _infer_pixels(detector, received, deadline, max_images))


def check(request: InferenceRequest, metadata: ModelMetadata) -> None:
    """Check that the input and the requested outputs match. Raises InvalidRequest if not."""
    if len(request.inputs) != 1:
        raise InvalidRequest(f"a request has one input, {FILES} or {PIXELS}")
    (given,) = request.inputs
    known = {tensor.name: tensor for tensor in metadata.inputs}
    if given.name not in known:
        raise InvalidRequest(f"no input {given.name[:100]!r}; the inputs are {' and '.join(known)}")
    wanted = known[given.name]
    if "shared_memory_region" in given.parameters:
        raise InvalidRequest(f"{given.name}: shared memory is not supported")
    if given.datatype != wanted.datatype:
        raise InvalidRequest(f"{given.name}: is {wanted.datatype}, not {given.datatype[:20]}")
    shape = given.shape[:1] if given.name == FILES and given.shape[1:] == [1] else given.shape
    if len(shape) != len(wanted.shape) or any(
        size not in (-1, side) for side, size in zip(shape, wanted.shape, strict=True)
    ):
        raise InvalidRequest(f"{given.name}: has the shape {wanted.shape}, not {given.shape}")
    for output in request.outputs:
        if output.name not in OUTPUTS[given.name]:
            there_is = " and ".join(OUTPUTS[given.name])
            raise InvalidRequest(f"no output {output.name[:100]!r} of {given.name}; {there_is} are")
        for parameter in ("classification", "shared_memory_region"):
            if parameter in output.parameters:
                raise InvalidRequest(f"{output.name}: {parameter} is not supported")


def requested(request: InferenceRequest) -> dict[str, Parameters]:
    """The names of the outputs to send in order, each with its parameters."""
    if request.outputs:
        return {output.name: output.parameters for output in request.outputs}
    (given,) = request.inputs
    return {name: {} for name in OUTPUTS[given.name]}


def respond(
    detector: Detector, request: InferenceRequest, outputs: Arrays, binary_by_default: bool
) -> tuple[bytes, bytes | None]:
    """The answer's JSON and the binary data after it: the requested outputs in order.

    The data is None where every output is in the JSON, and empty where a binary one is empty. Slow,
    so run it in a thread: the boxes of all priors are some hundred thousand numbers.
    """
    (given,) = request.inputs
    datatypes = OUTPUTS[given.name]
    sent: list[OutputTensor] = []
    binary: list[bytes] = []
    for name, parameters in requested(request).items():
        as_binary = parameters.get("binary_data", binary_by_default)
        if not isinstance(as_binary, bool):
            raise InvalidRequest(f"{name}: binary_data must be true or false")
        tensor, data = tensors.send(name, datatypes[name], outputs[name], binary=as_binary)
        sent.append(tensor)
        if as_binary:
            binary.append(data)
    model = detector.session.model
    response = InferenceResponse(
        model_name=model.name, model_version=model.version, id=request.id, outputs=sent
    )
    json = response.model_dump_json(exclude_none=True).encode()
    return json, b"".join(binary) if binary else None


def metadata(detector: Detector) -> ModelMetadata:
    """A model's inputs and outputs, as described above."""
    model = detector.session.model
    priors = {each.name: each.shape[1] for each in detector.session.onnx.get_outputs()}

    def tensor(name: str, datatype: str, *shape: object) -> TensorMetadata:
        # An open dimension of the ONNX file has a name instead of a number.
        sides = [side if isinstance(side, int) else -1 for side in shape]
        return TensorMetadata(name=name, datatype=datatype, shape=sides)

    return ModelMetadata(
        name=model.name,
        versions=[model.version],
        platform="onnxruntime_onnx",
        inputs=[
            tensor(FILES, "BYTES", -1),
            tensor(
                PIXELS, "UINT8", -1, model.input.height, model.input.width, model.input.channels
            ),
        ],
        outputs=[
            tensor("detections", "FP32", -1, 6),
            tensor("num_detections", "INT32", -1),
            tensor("boxes", "FP32", -1, priors["boxes"], 4),
            tensor("scores", "FP32", -1, priors["scores"], 1),
        ],
    )


async def _infer_files(
    detector: Detector, received: Received, query: Query, deadline: float, max_images: int
) -> Inferred:
    _check_count(received.tensor.shape[0], max_images)
    files = await until(deadline, asyncio.to_thread(tensors.files, received))
    found = await detector.detect_all(files, query, deadline)
    detections = []
    for index, one in enumerate(found):
        if isinstance(one, RequestError):
            # With several images, the client has to know which one failed.
            if len(found) > 1:
                one.args = (f"{FILES} {index}: {one}",)
            raise one
        detections.append(one)
    rows = [
        np.column_stack([np.full(len(one.scores), index), one.boxes, one.scores])
        for index, one in enumerate(detections)
    ]
    outputs = {
        "detections": np.concatenate(rows).astype(np.float32),
        "num_detections": np.asarray([len(one.scores) for one in detections], np.int32),
    }
    return Inferred(outputs, detections)


async def _infer_pixels(
    detector: Detector, received: Received, deadline: float, max_images: int
) -> Arrays:
    _check_count(received.tensor.shape[0], max_images)
    images = await until(deadline, asyncio.to_thread(tensors.pixels, received))
    with detector.batcher.reserve(len(images), deadline=deadline) as places:
        # One look: these outputs are those of the ONNX file.
        pictures = (Picture(image) for image in images)
        answers = await all_of(places.submit(each, deadline) for each in pictures)
    return {
        "boxes": np.stack([each.result.boxes for each in answers]),
        "scores": np.stack([each.result.scores for each in answers])[:, :, None],
    }


def _check_count(count: int, most: int) -> None:
    if not count:
        raise InvalidRequest("the batch is empty")
    if count > most:
        raise PayloadTooLarge(f"the request has {count} images; the limit is {most}")
