"""The protocol's routes in this process: errors and states. The client's tests cover the rest."""

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

Cells = Callable[..., bytes]
Serve = Callable[..., AbstractContextManager[TestClient]]
INFER = "/v2/models/cells/infer"


@pytest.fixture
def body(bright_cells: Cells, as_base64: Callable[[bytes], str]) -> dict[str, Any]:
    """A JSON request with one image of one face."""
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    return {"inputs": [{**tensor, "data": [as_base64(bright_cells(5))]}]}


def test_json_is_answered_with_json(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post(INFER, json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "model_name": "cells",
        "model_version": "7",
        "outputs": [
            {
                "name": "detections",
                "datatype": "FP32",
                "shape": [1, 6],
                "data": [0, 16, 16, 32, 32, 1],
            },
            {"name": "num_detections", "datatype": "INT32", "shape": [1], "data": [1]},
        ],
    }


@pytest.mark.parametrize(
    ("name", "datatype", "shape"),
    [("image", "BYTES", [5_000_000]), ("images", "UINT8", [5_000_000, 64, 64, 3])],
)
def test_more_images_than_a_request_may_have_are_refused_before_they_are_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str, datatype: str, shape: list[int]
) -> None:
    for reader in ("files", "pixels"):
        monkeypatch.setattr(f"service.openinference.tensors.{reader}", None)
    tensor = {"name": name, "shape": shape, "datatype": datatype, "data": [""]}
    answer = client.post(INFER, json={"inputs": [tensor]})
    assert answer.status_code == 413
    assert "has 5000000 images; the limit is 32" in answer.json()["error"]


def test_the_stage_times_are_in_the_header(client: TestClient, body: dict[str, Any]) -> None:
    assert "inference;dur=" in client.post(INFER, json=body).headers["server-timing"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/nobody/ready", 404),
        ("GET", "/v2/models/cells/versions/9", 404),
        ("POST", "/v2/models/nobody/infer", 404),
        ("GET", INFER, 405),
        ("POST", "/v2/repository/index", 404),
        ("GET", "/v2/nothing", 404),
        ("POST", INFER, 400),
    ],
)
def test_errors_have_the_form_of_the_protocol(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]


def test_a_similar_path_does_not_belong_to_the_protocol(client: TestClient) -> None:
    answer = client.get("/v2ray")
    assert answer.headers["content-type"] == "application/problem+json"


def test_before_the_warm_up_and_while_draining_nothing_is_ready(
    serve: Serve, body: dict[str, Any]
) -> None:
    with serve() as client:
        runtime = client.app.state.runtime  # type: ignore[attr-defined]
        for state in ("ready", "draining"):
            setattr(runtime, state, state == "draining")
            assert client.get("/v2/health/live").json() == {"live": True}
            for path in ("/v2/health/ready", "/v2/models/cells/ready"):
                answer = client.get(path)
                assert (answer.status_code, answer.json()["ready"]) == (503, False)
            answer = client.post(INFER, json=body)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert list(answer.json()) == ["error"]
            runtime.ready, runtime.draining = True, False


def test_a_full_queue_is_reported_in_the_form_of_the_protocol(
    serve: Serve, body: dict[str, Any]
) -> None:
    with serve(queue_limit=1, max_images=1) as client:
        runtime = client.app.state.runtime  # type: ignore[attr-defined]
        with runtime.default.batcher.reserve(1):
            answer = client.post(INFER, json=body)
    assert (answer.status_code, list(answer.json())) == (503, ["error"])


def test_a_bomb_is_too_large_and_its_memory_is_released(client: TestClient) -> None:
    bomb = gzip.compress(b" " * 100 * 2**20)
    answer = client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert client.app.state.runtime.memory.held == 0  # type: ignore[attr-defined]


def test_inference_that_raises_is_an_error_without_its_text(
    serve: Serve, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: object) -> Any:
        raise RuntimeError("the secret of the model")

    with serve(lambda runtime: setattr(runtime.default.batcher, "infer", fail)) as client:
        answer = client.post(INFER, json=body)
    assert answer.status_code == 500
    assert answer.json() == {"error": "the model failed on this image; the log says more"}


def test_pixels_that_do_not_fit_are_refused_together(serve: Serve) -> None:
    tensor = {"name": "images", "shape": [3, 64, 64, 3], "datatype": "UINT8"}
    size = 3 * 64 * 64 * 3
    header = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    with serve(queue_limit=4, max_images=4) as client:
        batcher = client.app.state.runtime.default.batcher  # type: ignore[attr-defined]
        with batcher.reserve(2):
            answer = client.post(INFER, content=header + bytes(size), headers=headers)
            assert (answer.status_code, batcher.depth) == (503, 2)
        assert client.post(INFER, content=header + bytes(size), headers=headers).status_code == 200


def test_pixels_that_would_miss_their_deadline_are_refused_at_once(serve: Serve) -> None:
    tensor = {"name": "images", "shape": [1, 64, 64, 3], "datatype": "UINT8"}
    size = 64 * 64 * 3
    header = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": size}}],
            "parameters": {"timeout": 5_000_000},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    with serve(target_wait_s=100.0) as client:
        batcher = client.app.state.runtime.default.batcher  # type: ignore[attr-defined]
        batcher.admission.image_seconds = 4.0
        with batcher.reserve(1):
            answer = client.post(INFER, content=header + bytes(size), headers=headers)
        assert answer.status_code == 503
        assert "longer than the deadline" in answer.json()["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": []}, "inputs"),
        ({"parameters": {"min_score": 2}}, "min_score"),
        ({"parameters": {"min_score": True}}, "min_score: must be a number"),
        ({"parameters": {"timeout": True}}, "timeout: must be a number"),
        ({"parameters": {"binary_data_output": "yes"}}, "binary_data_output: "),
        ({"parameters": {"render": "boxes"}}, "render: unknown parameter"),
        ({"parameters": {"model": "others"}}, "model: unknown parameter"),
        ({"outputs": [{"name": "faces"}]}, "no output 'faces'"),
        ({"outputs": [{"name": "detections", "parameters": {"binary_data": 1}}]}, "binary_data"),
    ],
)
def test_a_wrong_request_is_explained(
    client: TestClient, body: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    answer = client.post(INFER, json=body | change)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "photo"}, "no input 'photo'"),
        ({"datatype": "FP32"}, "is BYTES, not FP32"),
        ({"shape": [1, 2]}, "has the shape"),
        ({"shape": [2]}, "1 elements"),
        ({"shape": [0], "data": []}, "empty"),
        ({"shape": [True]}, "shape.0: must be a whole number"),
        ({"shape": ["1"]}, "shape.0: must be a whole number"),
        ({"name": "images", "datatype": "UINT8", "shape": [1, 32, 64, 3]}, "has the shape"),
    ],
)
def test_a_wrong_input_is_explained(
    client: TestClient, body: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    answer = client.post(INFER, json={"inputs": [body["inputs"][0] | change]})
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_parameters_that_only_triton_has_are_ignored(
    client: TestClient, body: dict[str, Any]
) -> None:
    parameters = {"priority": 1, "sequence_id": 3, "triton_enable_empty_final_response": True}
    answer = client.post(INFER, json=body | {"parameters": parameters, "model_name": "cells"})
    assert answer.status_code == 200


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, 10_000),
    replacement=st.binary(max_size=4),
    length=st.one_of(st.none(), st.integers(0, 400)),
    encoding=st.sampled_from(["", "", "gzip", "deflate"]),
)
def test_a_damaged_request_is_answered_or_explained(
    client: TestClient,
    bright_cells: Cells,
    at: int,
    replacement: bytes,
    length: int | None,
    encoding: str,
) -> None:
    data = bright_cells(5)
    binary = len(data).to_bytes(4, "little") + data
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    header = json.dumps(
        {
            "id": "1",
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(binary)}}],
            "parameters": {"min_score": 0.5, "binary_data_output": True},
        }
    ).encode()
    sent = bytearray(header + binary)
    if encoding:
        sent = bytearray(gzip.compress(sent) if encoding == "gzip" else zlib.compress(sent))
    at %= len(sent)
    sent[at : at + len(replacement)] = replacement
    headers = {"Content-Encoding": encoding} if encoding else {}
    headers["Inference-Header-Content-Length"] = str(len(header) if length is None else length)
    answer = client.post(INFER, content=bytes(sent), headers=headers)
    assert answer.status_code in (200, 400, 413, 415), answer.text
    if answer.status_code != 200:
        assert list(answer.json()) == ["error"]
