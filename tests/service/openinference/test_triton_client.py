"""Triton's own Python client, unchanged, with the service on a socket."""

import asyncio
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as aio
from PIL import Image
from tritonclient.utils import InferenceServerException

from geometry.arrays import F32, F64
from geometry.boxes import clip
from geometry.nms import nms

MODEL = "cells"
STORE = Path(__file__).resolve().parents[3] / "model_store"
Cells = Callable[..., bytes]


@pytest.fixture(scope="module")
def url(store: Path, tmp_path_factory: pytest.TempPathFactory, start_real_server: Any) -> Any:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells,others", "SFD_THREADS": "1"}
    with start_real_server(tmp_path_factory.mktemp("server"), environment) as server:
        yield server.url


def connect(url: str) -> Any:
    return triton.InferenceServerClient(url.removeprefix("http://"))


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with connect(url) as client:
        yield client


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


def image_input(*files: bytes) -> Any:
    tensor = triton.InferInput("image", [len(files)], "BYTES")
    return tensor.set_data_from_numpy(np.asarray([*files, None], np.object_)[:-1])


def rows(result: Any, images: int) -> list[F32]:
    """The detections of each image, checked against their count."""
    found = result.as_numpy("detections")
    counts = result.as_numpy("num_detections")
    assert counts.dtype == np.int32
    each = [found[found[:, 0] == index, 1:] for index in range(images)]
    assert counts.tolist() == [len(one) for one in each]
    return each


def test_the_server_is_live_ready_and_described(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "7")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready(MODEL, "1")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "parameters"]


def test_the_model_is_described(client: Any) -> None:
    for metadata in (client.get_model_metadata(MODEL), client.get_model_metadata(MODEL, "7")):
        assert metadata == {
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
    client: Any, url: str, bright_cells: Cells, compression: str | None
) -> None:
    files = [bright_cells(0, 5), bright_cells(), bright_cells(3, 7, 9, size=200, kind="JPEG")]
    result = client.infer(
        MODEL, [image_input(*files)], request_compression_algorithm=compression, request_id="9"
    )
    assert result.get_response()["id"] == "9"
    assert result.get_response()["model_version"] == "7"
    for ours, theirs in zip(rows(result, 3), detected(url, *files), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_json_outputs_return_the_same(client: Any, bright_cells: Cells) -> None:
    data = bright_cells(2, 8)
    outputs = [
        triton.InferRequestedOutput(name, binary_data=False)
        for name in ("num_detections", "detections")
    ]
    as_json = client.infer(MODEL, [image_input(data)], outputs=outputs)
    assert [out["name"] for out in as_json.get_response()["outputs"]] == [
        "num_detections",
        "detections",
    ]
    assert "data" in as_json.get_output("detections")
    binary = client.infer(MODEL, [image_input(data)])
    assert "data" not in binary.get_output("detections")
    for name in ("detections", "num_detections"):
        assert (as_json.as_numpy(name) == binary.as_numpy(name)).all()


def test_json_inputs_carry_images_in_base64(
    client: Any, bright_cells: Cells, as_base64: Callable[[bytes], str]
) -> None:
    data = bright_cells(4)
    tensor = triton.InferInput("image", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.asarray([[as_base64(data)]], np.object_), binary_data=False)
    outputs = [triton.InferRequestedOutput("detections", binary_data=False)]
    found = client.infer(MODEL, [tensor], outputs=outputs).as_numpy("detections")
    assert (found == client.infer(MODEL, [image_input(data)]).as_numpy("detections")).all()


def test_one_output_can_be_binary_and_the_other_json(client: Any, bright_cells: Cells) -> None:
    outputs = [
        triton.InferRequestedOutput("detections", binary_data=True),
        triton.InferRequestedOutput("num_detections", binary_data=False),
    ]
    result = client.infer(MODEL, [image_input(bright_cells(1))], outputs=outputs)
    assert result.as_numpy("num_detections").tolist() == [1]
    assert result.as_numpy("detections").shape == (1, 6)


@pytest.mark.parametrize("binary", [True, False])
def test_an_image_without_faces_gives_an_empty_tensor(
    client: Any, bright_cells: Cells, binary: bool
) -> None:
    outputs = [triton.InferRequestedOutput("detections", binary_data=binary)]
    result = client.infer(MODEL, [image_input(bright_cells())], outputs=outputs)
    assert result.as_numpy("detections").shape == (0, 6)


def test_parameters_are_those_of_detect(client: Any, url: str, bright_cells: Cells) -> None:
    data = bright_cells(0, 5, 10, size=200, kind="JPEG")
    for query in ({"min_score": 0.01}, {"max_faces": 1}, {"nms_iou": 0.0}, {"tiles": "auto"}):
        result = client.infer(MODEL, [image_input(data)], parameters=query)
        (ours,), (theirs,) = rows(result, 1), detected(url, data, **query)
        np.testing.assert_allclose(ours, theirs, atol=0.02)


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_give_what_the_onnx_file_gives(
    client: Any, bright_cells: Cells, binary: bool
) -> None:
    images = np.stack(
        [np.asarray(Image.open(io.BytesIO(bright_cells(*cells)))) for cells in ((0,), (3, 15))]
    )
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary) for name in ("boxes", "scores")
    ]
    result = client.infer(MODEL, [tensor], outputs=outputs, model_version="7")
    assert result.as_numpy("boxes").shape == (2, 16, 4)
    assert [np.flatnonzero(one).tolist() for one in result.as_numpy("scores")] == [[0], [3, 15]]


def test_asynchronous_requests_are_answered(client: Any, bright_cells: Cells) -> None:
    waiting = [client.async_infer("others", [image_input(bright_cells(n))]) for n in range(4)]
    counts = [each.get_result().as_numpy("num_detections").tolist() for each in waiting]
    assert counts == [[1]] * 4


def test_the_client_for_asyncio_works_too(url: str, bright_cells: Cells) -> None:
    async def ask() -> list[int]:
        async with aio.InferenceServerClient(url.removeprefix("http://")) as client:
            assert await client.is_model_ready(MODEL)
            result = await client.infer(
                MODEL, [image_input(bright_cells(1, 6))], request_compression_algorithm="gzip"
            )
            counts: list[int] = result.as_numpy("num_detections").tolist()
            return counts

    assert asyncio.run(ask()) == [2]


@pytest.mark.parametrize(
    ("model", "inputs", "options", "status", "message"),
    [
        ("nobody", lambda good: [image_input(good)], {}, "404", "no model 'nobody'"),
        (MODEL, lambda _: [image_input(b"no image")], {}, "415", "text"),
        (MODEL, lambda good: [image_input(good, b"\xff\xd8\xff")], {}, "400", "image 1: "),
        (MODEL, lambda good: [image_input(good)] * 2, {}, "400", "one input"),
        (MODEL, lambda good: [image_input(*[good] * 33)], {}, "413", "33 images"),
        (MODEL, lambda good: [image_input(good)], {"model_version": "8"}, "404", "no version"),
        (MODEL, lambda good: [image_input(good)], {"parameters": {"min_scor": 1}}, "400",
         "min_scor: unknown parameter"),
        (MODEL, lambda good: [image_input(good)], {"timeout": 1}, "504", "deadline"),
        (MODEL, lambda good: [image_input(good)],
         {"outputs": [triton.InferRequestedOutput("boxes")]}, "400", "no output 'boxes'"),
        (MODEL, lambda good: [image_input(good)],
         {"outputs": [triton.InferRequestedOutput("detections", class_count=3)]}, "400",
         "classification"),
    ],
)  # fmt: skip
def test_an_error_reaches_the_client_as_its_own_exception(
    client: Any,
    bright_cells: Cells,
    model: str,
    inputs: Callable[[bytes], list[Any]],
    options: dict[str, Any],
    status: str,
    message: str,
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs(bright_cells(1)), **options)
    assert caught.value.status() == status
    assert message in caught.value.message()
    assert "Traceback" not in caught.value.message()


def test_a_missing_key_reaches_the_client_as_its_own_exception(
    store: Path, tmp_path: Path, start_real_server: Any, bright_cells: Cells
) -> None:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": MODEL, "SFD_API_KEYS": "12345678"}
    with start_real_server(tmp_path, environment) as server, connect(server.url) as client:
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="an API key is needed"):
            client.infer(MODEL, [image_input(bright_cells(1))])
        headers = {"Authorization": "Bearer 12345678"}
        assert client.infer(MODEL, [image_input(bright_cells(1))], headers=headers)


@pytest.fixture(scope="module")
def crowds(shared: Path) -> list[bytes]:
    """The six held-back photographs with the most faces."""
    lines = (shared / "faces" / "test.jsonl").read_text().splitlines()
    rows_ = [json.loads(line) for line in lines]
    crowded = sorted(rows_, key=lambda row: -len(row["boxes"] or ()))[:6]
    return [(shared / "faces" / row["image"]).read_bytes() for row in crowded]


@pytest.fixture(scope="module")
def real_url(
    crowds: list[bytes], tmp_path_factory: pytest.TempPathFactory, start_real_server: Any
) -> Any:
    """A service of the default model."""
    environment = {"SFD_MODEL_STORE": str(STORE), "SFD_THREADS": str(min(2, os.cpu_count() or 1))}
    with start_real_server(tmp_path_factory.mktemp("real"), environment) as server:
        yield server.url


def wanted(binary: bool, *names: str) -> list[Any]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def assert_same_faces(ours: F32, theirs: F64) -> None:
    # A batch of another size may round differently in the last bits.
    np.testing.assert_allclose(ours[:, :4], theirs[:, :4], atol=0.1)
    np.testing.assert_allclose(ours[:, 4], theirs[:, 4], atol=1e-3)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_the_default_model_finds_the_faces_of_detect(
    crowds: list[bytes], real_url: str, as_base64: Callable[[bytes], str], binary: bool
) -> None:
    tensor = image_input(*crowds)
    if not binary:
        texts = np.asarray([as_base64(data) for data in crowds], np.object_)
        tensor.set_data_from_numpy(texts, binary_data=False)
    outputs = wanted(binary, "detections", "num_detections")
    with connect(real_url) as client:
        name = httpx.get(f"{real_url}/models").json()["models"][0]["name"]
        result = client.infer(name, [tensor], outputs=outputs)
    assert all(("data" in each) is not binary for each in result.get_response()["outputs"])
    found = rows(result, 6)
    for ours, theirs in zip(found, detected(real_url, *crowds), strict=True):
        assert_same_faces(ours, theirs)
    assert sum(map(len, found)) > 20


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_pixels_give_the_faces_of_detect_with_the_default_model(
    crowds: list[bytes], real_url: str, binary: bool
) -> None:
    """One image has 1.2 million values in JSON, which is within the limit; two are not."""
    model = httpx.get(f"{real_url}/models").json()["models"][0]
    limits, size = model["thresholds"], (model["input"]["width"], model["input"]["height"])
    picture = Image.open(io.BytesIO(crowds[0])).convert("RGB").resize(size)
    images = np.asarray(picture)[None]
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    with connect(real_url) as client:
        outputs = wanted(binary, "boxes", "scores")
        result = client.infer(model["name"], [tensor], outputs=outputs)
    assert all(("data" in each) is not binary for each in result.get_response()["outputs"])
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
    (theirs,) = detected(real_url, file.getvalue())
    assert_same_faces(np.column_stack([pixels, scores[kept]]), theirs)
    assert len(theirs) > 3
