"""Triton's own Python clients, unchanged, over HTTP and gRPC, with the service on sockets."""

import asyncio
import io
import json
import os
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from PIL import Image
from tritonclient.utils import InferenceServerException

from geometry.arrays import F32, F64
from geometry.boxes import clip
from geometry.nms import nms

MODEL = "cells"
STORE = Path(__file__).resolve().parents[3] / "model_store"
Cells = Callable[..., bytes]


@dataclass(frozen=True)
class Side:
    """One of the two protocols, with Triton's client for it and the service's address."""

    url: str
    """The service's HTTP address, for /detect."""
    address: str
    triton: ModuleType
    compression: str
    """The argument of `infer` that compresses a request."""

    @property
    def is_grpc(self) -> bool:
        return self.triton is tritonclient.grpc

    def connect(self) -> Any:
        # Triton's HTTP client reads an answer in `get_result`, and its connection is free only
        # then. With its default of one connection, asynchronous requests that get it in another
        # order than their results are asked for wait for each other: gevent's LoopExit.
        options = {} if self.is_grpc else {"concurrency": 4}
        return self.triton.InferenceServerClient(self.address, **options)

    def image(self, *files: bytes) -> Any:
        tensor = self.triton.InferInput("image", [len(files)], "BYTES")
        return tensor.set_data_from_numpy(np.asarray([*files, None], np.object_)[:-1])

    def pixels(self, images: Any, **options: Any) -> Any:
        tensor = self.triton.InferInput("images", list(images.shape), "UINT8")
        return tensor.set_data_from_numpy(images, **options)

    def wanted(self, *names: str, **options: Any) -> list[Any]:
        return [self.triton.InferRequestedOutput(name, **options) for name in names]

    def key(self, key: str) -> dict[str, dict[str, str]]:
        """The argument of `infer` that sends an API key."""
        return {"headers": {"authorization": f"Bearer {key}"}}

    def described(self, metadata: Any) -> Any:
        """Metadata as the JSON of HTTP, where numbers are not text."""
        if not self.is_grpc:
            return metadata
        tensors = [*metadata["inputs"], *metadata["outputs"]]
        for tensor in tensors:
            tensor["shape"] = [int(side) for side in tensor["shape"]]
        return metadata

    def status(self, http: int) -> str:
        """How the client reports an error that has this status over HTTP."""
        codes = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 413: "RESOURCE_EXHAUSTED",
                 415: "INVALID_ARGUMENT", 504: "DEADLINE_EXCEEDED"}  # fmt: skip
        return f"StatusCode.{codes[http]}" if self.is_grpc else str(http)


def over_http(server: Any) -> Side:
    address = server.url.removeprefix("http://")
    return Side(server.url, address, tritonclient.http, "request_compression_algorithm")


def over_grpc(server: Any) -> Side:
    return Side(server.url, server.grpc, tritonclient.grpc, "compression_algorithm")


both = pytest.mark.parametrize("over", [over_http, over_grpc], ids=["http", "grpc"])


@pytest.fixture(scope="module")
def server(
    store: Path, tmp_path_factory: pytest.TempPathFactory, start_real_server: Any
) -> Iterator[Any]:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells,others", "SFD_THREADS": "1"}
    environment["SFD_GRPC_PORT"] = "0"
    with start_real_server(tmp_path_factory.mktemp("server"), environment) as server:
        yield server


@pytest.fixture(params=[over_http, over_grpc], ids=["http", "grpc"])
def side(server: Any, request: pytest.FixtureRequest) -> Side:
    side: Side = request.param(server)
    return side


@pytest.fixture
def client(side: Side) -> Iterator[Any]:
    with side.connect() as client:
        yield client


@pytest.fixture
def http(server: Any) -> Side:
    """For what only HTTP has: tensors in JSON."""
    return over_http(server)


def detected(url: str, *files: bytes, **query: Any) -> list[F64]:
    """The faces that /detect finds in each file: rows of x1, y1, x2, y2, score."""
    parts = [("image", (f"{index}", data)) for index, data in enumerate(files)]
    answer = httpx.post(f"{url}/detect", files=parts, params=query, timeout=60)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"] if len(files) > 1 else [answer.json()]
    return [
        np.asarray(
            [
                [f["box"]["x"], f["box"]["y"], f["box"]["x"] + f["box"]["width"],
                 f["box"]["y"] + f["box"]["height"], f["score"]]
                for f in result["faces"]
            ]
        ).reshape(-1, 5)
        for result in results
    ]  # fmt: skip


def rows(result: Any, images: int) -> list[F32]:
    """The detections of each image, checked against their count."""
    found = result.as_numpy("detections")
    counts = result.as_numpy("num_detections")
    assert counts.dtype == np.int32
    each = [found[found[:, 0] == index, 1:] for index in range(images)]
    assert counts.tolist() == [len(one) for one in each]
    return each


def test_the_server_is_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "7")


def test_a_model_that_is_not_served_is_not_ready(side: Side, client: Any) -> None:
    for model in (("nobody",), (MODEL, "1")):
        if side.is_grpc:
            with pytest.raises(InferenceServerException, match=r"no model|no version") as caught:
                client.is_model_ready(*model)
            assert caught.value.status() == "StatusCode.NOT_FOUND"
        else:
            assert not client.is_model_ready(*model)


def test_the_server_is_described(side: Side, client: Any) -> None:
    described = client.get_server_metadata(**as_json(side))
    assert (described["name"], described["extensions"]) == (
        "sfd",
        ["binary_tensor_data", "parameters"],
    )


def as_json(side: Side) -> dict[str, bool]:
    return {"as_json": True} if side.is_grpc else {}


def test_the_model_is_described(side: Side, client: Any) -> None:
    for version in ("", "7"):
        metadata = client.get_model_metadata(MODEL, version, **as_json(side))
        assert side.described(metadata) == {
            "name": MODEL,
            "versions": ["7"],
            "platform": "onnxruntime_onnx",
            "inputs": [
                {"name": "image", "datatype": "BYTES", "shape": [-1]},
                {"name": "images", "datatype": "UINT8", "shape": [-1, 64, 64, 3]},
            ],
            "outputs": [
                {"name": "detections", "datatype": "FP32", "shape": [-1, 6]},
                {"name": "num_detections", "datatype": "INT32", "shape": [-1]},
                {"name": "boxes", "datatype": "FP32", "shape": [-1, 16, 4]},
                {"name": "scores", "datatype": "FP32", "shape": [-1, 16, 1]},
            ],
        }


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_binary_tensors_return_the_boxes_of_detect(
    side: Side, client: Any, bright_cells: Cells, compression: str | None
) -> None:
    files = [bright_cells(0, 5), bright_cells(), bright_cells(3, 7, 9, size=200, kind="JPEG")]
    options = {side.compression: compression}
    result = client.infer(MODEL, [side.image(*files)], request_id="9", **options)
    response = result.get_response(**as_json(side))
    assert (response["id"], response["model_version"]) == ("9", "7")
    for ours, theirs in zip(rows(result, 3), detected(side.url, *files), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_requested_outputs_come_in_their_order(
    side: Side, client: Any, bright_cells: Cells
) -> None:
    names = ["num_detections", "detections"]
    result = client.infer(MODEL, [side.image(bright_cells(2))], outputs=side.wanted(*names))
    outputs = result.get_response(**as_json(side))["outputs"]
    assert [each["name"] for each in outputs] == names


def test_json_outputs_return_the_same(http: Side, bright_cells: Cells) -> None:
    data = bright_cells(2, 8)
    outputs = http.wanted("num_detections", "detections", binary_data=False)
    with http.connect() as client:
        as_text = client.infer(MODEL, [http.image(data)], outputs=outputs)
        binary = client.infer(MODEL, [http.image(data)])
    assert "data" in as_text.get_output("detections")
    assert "data" not in binary.get_output("detections")
    for name in ("detections", "num_detections"):
        assert (as_text.as_numpy(name) == binary.as_numpy(name)).all()


def test_json_inputs_carry_images_in_base64(
    http: Side, bright_cells: Cells, as_base64: Callable[[bytes], str]
) -> None:
    data = bright_cells(4)
    tensor = http.triton.InferInput("image", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.asarray([[as_base64(data)]], np.object_), binary_data=False)
    outputs = http.wanted("detections", binary_data=False)
    with http.connect() as client:
        found = client.infer(MODEL, [tensor], outputs=outputs).as_numpy("detections")
        binary = client.infer(MODEL, [http.image(data)]).as_numpy("detections")
    assert (found == binary).all()


def test_one_output_can_be_binary_and_the_other_json(http: Side, bright_cells: Cells) -> None:
    outputs = [
        *http.wanted("detections", binary_data=True),
        *http.wanted("num_detections", binary_data=False),
    ]
    with http.connect() as client:
        result = client.infer(MODEL, [http.image(bright_cells(1))], outputs=outputs)
    assert result.as_numpy("num_detections").tolist() == [1]
    assert result.as_numpy("detections").shape == (1, 6)


def test_an_image_without_faces_gives_an_empty_tensor(
    side: Side, client: Any, bright_cells: Cells
) -> None:
    result = client.infer(MODEL, [side.image(bright_cells())], outputs=side.wanted("detections"))
    assert result.as_numpy("detections").shape == (0, 6)


def test_an_image_without_faces_gives_an_empty_tensor_in_json_too(
    http: Side, bright_cells: Cells
) -> None:
    outputs = http.wanted("detections", binary_data=False)
    with http.connect() as client:
        result = client.infer(MODEL, [http.image(bright_cells())], outputs=outputs)
    assert result.as_numpy("detections").shape == (0, 6)


def test_parameters_are_those_of_detect(side: Side, client: Any, bright_cells: Cells) -> None:
    data = bright_cells(0, 5, 10, size=200, kind="JPEG")
    for query in ({"min_score": 0.01}, {"max_faces": 1}, {"nms_iou": 0.0}, {"tiles": "auto"}):
        result = client.infer(MODEL, [side.image(data)], parameters=query)
        (ours,), (theirs,) = rows(result, 1), detected(side.url, data, **query)
        np.testing.assert_allclose(ours, theirs, atol=0.02)


def pixels_of(*files: bytes) -> Any:
    return np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in files])


def test_pixels_give_what_the_onnx_file_gives(side: Side, client: Any, bright_cells: Cells) -> None:
    tensor = side.pixels(pixels_of(bright_cells(0), bright_cells(3, 15)))
    outputs = side.wanted("boxes", "scores")
    result = client.infer(MODEL, [tensor], outputs=outputs, model_version="7")
    assert_cells(result)


def test_pixels_in_json_give_the_same(http: Side, bright_cells: Cells) -> None:
    tensor = http.pixels(pixels_of(bright_cells(0), bright_cells(3, 15)), binary_data=False)
    outputs = http.wanted("boxes", "scores", binary_data=False)
    with http.connect() as client:
        assert_cells(client.infer(MODEL, [tensor], outputs=outputs))


def assert_cells(result: Any) -> None:
    assert result.as_numpy("boxes").shape == (2, 16, 4)
    assert [np.flatnonzero(one).tolist() for one in result.as_numpy("scores")] == [[0], [3, 15]]


def test_asynchronous_requests_are_answered(side: Side, client: Any, bright_cells: Cells) -> None:
    inputs = [[side.image(bright_cells(n))] for n in range(4)]
    results: queue.Queue[Any] = queue.Queue()
    if side.is_grpc:
        for each in inputs:
            client.async_infer("others", each, lambda result, error: results.put(error or result))
    else:
        for handle in [client.async_infer("others", each) for each in inputs]:
            results.put(handle.get_result())
    found = [results.get(timeout=60).as_numpy("num_detections").tolist() for _ in inputs]
    assert found == [[1]] * 4


def test_the_client_for_asyncio_works_too(side: Side, bright_cells: Cells) -> None:
    async def ask() -> list[int]:
        async with side.triton.aio.InferenceServerClient(side.address) as client:
            assert await client.is_model_ready(MODEL)
            result = await client.infer(
                MODEL, [side.image(bright_cells(1, 6))], **{side.compression: "gzip"}
            )
            counts: list[int] = result.as_numpy("num_detections").tolist()
            return counts

    assert asyncio.run(ask()) == [2]


@pytest.mark.parametrize(
    ("model", "inputs", "options", "status", "message"),
    [
        ("nobody", lambda to, good: [to.image(good)], {}, 404, "no model 'nobody'"),
        (MODEL, lambda to, _: [to.image(b"no image")], {}, 415, "text"),
        (MODEL, lambda to, good: [to.image(good, b"\xff\xd8\xff")], {}, 400, "image 1: "),
        (MODEL, lambda to, good: [to.image(good)] * 2, {}, 400, "one input"),
        (MODEL, lambda to, good: [to.image(*[good] * 33)], {}, 413, "33 images"),
        (MODEL, lambda to, good: [to.image(good)], {"model_version": "8"}, 404, "no version"),
        (MODEL, lambda to, good: [to.image(good)], {"parameters": {"min_scor": 1}}, 400,
         "min_scor: unknown parameter"),
        (MODEL, lambda to, good: [to.image(good)], {"timeout": 1}, 504, "deadline"),
        (MODEL, lambda to, good: [to.image(good)],
         {"outputs": lambda to: to.wanted("boxes")}, 400, "no output 'boxes'"),
        (MODEL, lambda to, good: [to.image(good)],
         {"outputs": lambda to: to.wanted("detections", class_count=3)}, 400, "classification"),
    ],
)  # fmt: skip
def test_an_error_reaches_the_client_as_its_own_exception(
    side: Side,
    client: Any,
    bright_cells: Cells,
    model: str,
    inputs: Callable[[Side, bytes], list[Any]],
    options: dict[str, Any],
    status: int,
    message: str,
) -> None:
    given = {name: value(side) if callable(value) else value for name, value in options.items()}
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs(side, bright_cells(1)), **given)
    assert caught.value.status() == side.status(status)
    assert message in caught.value.message()
    assert "Traceback" not in caught.value.message()


@both
def test_a_missing_key_reaches_the_client_as_its_own_exception(
    start_server: Any, bright_cells: Cells, over: Callable[[Any], Side]
) -> None:
    with start_server(API_KEYS="12345678", GRPC_PORT=0) as server:
        side = over(server)
        inputs = [side.image(bright_cells(1))]
        with side.connect() as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            for wrong in ({}, side.key("87654321")):
                with pytest.raises(InferenceServerException, match="API key"):
                    client.infer(MODEL, inputs, **wrong)
            assert client.infer(MODEL, inputs, **side.key("12345678"))
            assert client.infer(MODEL, inputs, headers={"x-api-key": "12345678"})


@pytest.fixture(scope="module")
def crowds(shared: Path) -> list[bytes]:
    """The six held-back photographs with the most faces."""
    lines = (shared / "faces" / "test.jsonl").read_text().splitlines()
    rows_ = [json.loads(line) for line in lines]
    crowded = sorted(rows_, key=lambda row: -len(row["boxes"] or ()))[:6]
    return [(shared / "faces" / row["image"]).read_bytes() for row in crowded]


@pytest.fixture(scope="module")
def real_server(
    crowds: list[bytes], tmp_path_factory: pytest.TempPathFactory, start_real_server: Any
) -> Iterator[Any]:
    """A service of the default model."""
    environment = {"SFD_MODEL_STORE": str(STORE), "SFD_THREADS": str(min(2, os.cpu_count() or 1))}
    environment["SFD_GRPC_PORT"] = "0"
    with start_real_server(tmp_path_factory.mktemp("real"), environment) as server:
        yield server


ways = pytest.mark.parametrize(
    ("over", "options"),
    [
        (over_http, {"binary_data": True}),
        (over_http, {"binary_data": False}),
        (over_grpc, {}),
    ],
    ids=["binary", "json", "grpc"],
)
"""How tensors travel."""


def is_binary(result: Any) -> bool:
    """Whether no output of an answer over HTTP is in the JSON."""
    return not any("data" in each for each in result.get_response()["outputs"])


def assert_same_faces(ours: F32, theirs: F64) -> None:
    # A batch of another size may round differently in the last bits.
    np.testing.assert_allclose(ours[:, :4], theirs[:, :4], atol=0.1)
    np.testing.assert_allclose(ours[:, 4], theirs[:, 4], atol=1e-3)


@ways
def test_the_default_model_finds_the_faces_of_detect(
    crowds: list[bytes],
    real_server: Any,
    as_base64: Callable[[bytes], str],
    over: Callable[[Any], Side],
    options: dict[str, bool],
) -> None:
    side = over(real_server)
    tensor = side.image(*crowds)
    if options == {"binary_data": False}:
        texts = np.asarray([as_base64(data) for data in crowds], np.object_)
        tensor.set_data_from_numpy(texts, binary_data=False)
    outputs = side.wanted("detections", "num_detections", **options)
    with side.connect() as client:
        name = httpx.get(f"{side.url}/models").json()["models"][0]["name"]
        result = client.infer(name, [tensor], outputs=outputs)
    assert side.is_grpc or is_binary(result) is options["binary_data"]
    found = rows(result, 6)
    for ours, theirs in zip(found, detected(side.url, *crowds), strict=True):
        assert_same_faces(ours, theirs)
    assert sum(map(len, found)) > 20


@ways
def test_pixels_give_the_faces_of_detect_with_the_default_model(
    crowds: list[bytes], real_server: Any, over: Callable[[Any], Side], options: dict[str, bool]
) -> None:
    """One image has 1.2 million values in JSON, which is within the limit; two are not."""
    side = over(real_server)
    model = httpx.get(f"{side.url}/models").json()["models"][0]
    limits, size = model["thresholds"], (model["input"]["width"], model["input"]["height"])
    picture = Image.open(io.BytesIO(crowds[0])).convert("RGB").resize(size)
    tensor = side.pixels(np.asarray(picture)[None], **options)
    with side.connect() as client:
        outputs = side.wanted("boxes", "scores", **options)
        result = client.infer(model["name"], [tensor], outputs=outputs)
    assert side.is_grpc or is_binary(result) is options["binary_data"]
    boxes, scores = result.as_numpy("boxes")[0], result.as_numpy("scores")[0, :, 0]
    above = np.flatnonzero(scores > np.float32(limits["min_score"]))
    kept = above[
        nms(
            boxes[above],
            scores[above],
            limits["nms_iou"],
            limits["top_k"],
            limits["keep_top_k"],
        )
    ]
    pixels = clip(boxes[kept] * np.asarray(size * 2, np.float32), *size)
    file = io.BytesIO()
    picture.save(file, "PNG")
    (theirs,) = detected(side.url, file.getvalue())
    assert_same_faces(np.column_stack([pixels, scores[kept]]), theirs)
    assert len(theirs) > 3
