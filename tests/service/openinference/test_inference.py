"""A model's inputs and outputs: which go together, and how they are sent."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from detection.detector import Detector, Query
from detection.errors import InvalidImage
from service import runtime as runtimes
from service.errors import InvalidRequest, PayloadTooLarge
from service.openinference import inference
from service.openinference.messages import InferenceRequest
from service.openinference.tensors import Received
from service.settings import Settings

Cells = Callable[..., bytes]
Base64 = Callable[[bytes], str]


@pytest.fixture
def detector(settings: Callable[..., Settings]) -> Iterator[Detector]:
    runtime = runtimes.load(settings())
    yield runtime.default
    asyncio.run(runtime.close())


def request(outputs: list[dict[str, Any]] | None = None, **changes: Any) -> InferenceRequest:
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"} | changes
    return InferenceRequest.model_validate({"inputs": [tensor], "outputs": outputs or []})


def infer(detector: Detector, asked: InferenceRequest, most: int = 32) -> inference.Inferred:
    async def run() -> inference.Inferred:
        received = Received(asked.inputs[0], None)
        deadline = asyncio.get_running_loop().time() + 20
        return await inference.infer(detector, received, Query(), deadline, most)

    return asyncio.run(run())


def test_a_model_describes_its_tensors(detector: Detector) -> None:
    described = inference.metadata(detector)
    assert (described.name, described.versions) == ("cells", ["7"])
    inputs = {each.name: (each.datatype, each.shape) for each in described.inputs}
    outputs = {each.name: (each.datatype, each.shape) for each in described.outputs}
    assert inputs == {"image": ("BYTES", [-1]), "images": ("UINT8", [-1, 64, 64, 3])}
    assert outputs == {
        "detections": ("FP32", [-1, 6]),
        "num_detections": ("INT32", [-1]),
        "boxes": ("FP32", [-1, 16, 4]),
        "scores": ("FP32", [-1, 16, 1]),
    }


@pytest.mark.parametrize(
    "asked",
    [
        request(),
        request(shape=[3]),
        request(shape=[3, 1]),
        request([{"name": "num_detections"}, {"name": "detections"}]),
        request([{"name": "scores"}], name="images", datatype="UINT8", shape=[2, 64, 64, 3]),
    ],
)
def test_matching_inputs_and_outputs_are_accepted(
    detector: Detector, asked: InferenceRequest
) -> None:
    inference.check(asked, inference.metadata(detector))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (request(name="photo"), "no input 'photo'; the inputs are image and images"),
        (request(datatype="UINT8"), "image: is BYTES, not UINT8"),
        (request(shape=[1, 2]), "image: has the shape"),
        (request(name="images", datatype="UINT8", shape=[64, 64, 3]), "images: has the shape"),
        (request(name="images", datatype="UINT8", shape=[1, 1]), "images: has the shape"),
        (
            request(parameters={"shared_memory_region": "a"}),
            "image: shared memory is not supported",
        ),
        (request([{"name": "boxes"}]), "no output 'boxes' of image; detections and num_detections"),
        (
            request([{"name": "detections", "parameters": {"classification": 3}}]),
            "detections: classification is not supported",
        ),
        (
            request([{"name": "detections", "parameters": {"shared_memory_region": "a"}}]),
            "shared_memory_region is not supported",
        ),
    ],
)
def test_inputs_and_outputs_that_do_not_match_are_refused(
    detector: Detector, asked: InferenceRequest, says: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        inference.check(asked, inference.metadata(detector))
    assert says in str(caught.value)


def test_a_request_has_one_input(detector: Detector) -> None:
    asked = request()
    asked.inputs *= 2
    with pytest.raises(InvalidRequest, match="one input"):
        inference.check(asked, inference.metadata(detector))


def test_each_row_names_the_image_of_its_face(
    detector: Detector, bright_cells: Cells, as_base64: Base64
) -> None:
    files = [as_base64(bright_cells(*cells)) for cells in ((5,), (), (0, 15))]
    found = infer(detector, request(shape=[3], data=files))
    assert found.outputs["num_detections"].tolist() == [1, 0, 2]
    rows = found.outputs["detections"]
    assert rows[:, 0].tolist() == [0, 2, 2]
    assert rows[0].tolist() == [0, 16, 16, 32, 32, 1]
    assert [len(one.scores) for one in found.detections] == [1, 0, 2]


def test_the_message_says_which_of_several_files_failed(
    detector: Detector, bright_cells: Cells, as_base64: Base64
) -> None:
    with pytest.raises(InvalidImage, match=r"^image 1: the text is not base64"):
        infer(detector, request(shape=[2], data=[as_base64(bright_cells()), "&"]))
    with pytest.raises(InvalidImage, match=r"^the text is not base64"):
        infer(detector, request(data=["&"]))


@pytest.mark.parametrize(
    ("shape", "error"), [([0], InvalidRequest), ([3], PayloadTooLarge)], ids=["none", "too many"]
)
def test_an_empty_batch_and_too_many_images_are_refused(
    detector: Detector, shape: list[int], error: type[Exception]
) -> None:
    with pytest.raises(error):
        infer(detector, request(shape=shape, data=["YWJj"] * shape[0]), most=2)


def test_requested_outputs_are_sent_in_their_order(detector: Detector) -> None:
    outputs = {
        "detections": np.zeros((0, 6), np.float32),
        "num_detections": np.asarray([0], np.int32),
    }

    def sent(asked: InferenceRequest, *, binary: bool = False) -> tuple[list[str], bytes | None]:
        text, data = inference.respond(detector, asked, outputs, binary)
        answer = json.loads(text)
        assert (answer["model_name"], answer["model_version"]) == ("cells", "7")
        return [each["name"] for each in answer["outputs"]], data

    assert sent(request()) == (["detections", "num_detections"], None)
    backwards = [{"name": "num_detections"}, {"name": "detections"}]
    assert sent(request(backwards)) == (["num_detections", "detections"], None)
    assert sent(request(), binary=True) == (["detections", "num_detections"], bytes(4))
    # An empty binary tensor is binary all the same: None would say that the answer is JSON alone.
    one = [{"name": "detections", "parameters": {"binary_data": True}}]
    assert sent(request(one)) == (["detections"], b"")
    own = [{"name": "num_detections", "parameters": {"binary_data": False}}]
    assert sent(request(own), binary=True) == (["num_detections"], None)
