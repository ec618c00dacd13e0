"""Requests as CompreFace's clients send them, byte for byte, over a real socket."""

import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.compat.compreface import biggest_first
from tests.servers import Server
from tests.service.compat.conftest import KEY, Ask, lines

Cells = Callable[..., bytes]
PATH = "/api/v1/detection/detect"


def toolbelt_shape(data: bytes) -> tuple[str, bytes]:
    """requests with requests_toolbelt: compreface-sdk, the Python SDK; "?&" is its own."""
    edge = "9f1c5f0f7c9a4d35b1c6a5e8d9e0f1a2"
    head = f"""POST {PATH}?&limit=0&det_prob_threshold=0.4&status=true HTTP/1.1
Host: localhost:8000
User-Agent: python-requests/2.32.3
Accept-Encoding: gzip, deflate
Accept: */*
Connection: keep-alive
Content-Type: multipart/form-data; boundary={edge}
x-api-key: 00000000-0000-0000-0000-000000000002"""
    return head, lines(
        f"--{edge}", 'Content-Disposition: form-data; name="file"; filename="image.jpg"', "", data,
        f"--{edge}--",
    )  # fmt: skip


def form_data_shape(data: bytes) -> tuple[str, bytes]:
    """axios with the npm package form-data: compreface-javascript-sdk in Node."""
    edge = "--------------------------076123465279021853411263"
    head = f"""POST {PATH}?limit=0&det_prob_threshold=0.4&face_plugins=&status=true HTTP/1.1
Accept: application/json, text/plain, */*
Content-Type: multipart/form-data; boundary={edge}
x-api-key: 00000000-0000-0000-0000-000000000002
User-Agent: axios/0.21.1
Host: localhost:8000
Connection: close"""
    return head, lines(
        f"--{edge}", 'Content-Disposition: form-data; name="file"; filename="example.jpg"',
        "Content-Type: image/jpeg", "", data,
        f"--{edge}--",
    )  # fmt: skip


def browser_shape(data: bytes) -> tuple[str, bytes]:
    """A browser's FormData: compreface-javascript-sdk in a page."""
    edge = "----WebKitFormBoundaryuL2wB6bJ1sFkE8tN"
    head = f"""POST {PATH}?det_prob_threshold=0.4&status=true HTTP/1.1
Host: localhost:8000
Connection: keep-alive
x-api-key: 00000000-0000-0000-0000-000000000002
Content-Type: multipart/form-data; boundary={edge}
Accept: application/json, text/plain, */*
Origin: http://localhost:3000"""
    return head, lines(
        f"--{edge}", 'Content-Disposition: form-data; name="file"; filename="example.jpg"',
        "Content-Type: image/png", "", data,
        f"--{edge}--",
    )  # fmt: skip


def curl_shape(data: bytes) -> tuple[str, bytes]:
    """curl, as CompreFace's documentation says."""
    edge = "------------------------d74496d66958873e"
    head = f"""POST {PATH}?limit=&det_prob_threshold=0.4&face_plugins=&status=true HTTP/1.1
Host: localhost:8000
User-Agent: curl/7.88.1
Accept: */*
Content-Type: multipart/form-data; boundary={edge}
x-api-key: 00000000-0000-0000-0000-000000000002"""
    return head, lines(
        f"--{edge}", 'Content-Disposition: form-data; name="file"; filename="photo.jpg"',
        "Content-Type: image/jpeg", "", data,
        f"--{edge}--",
    )  # fmt: skip


SHAPES = [toolbelt_shape, form_data_shape, browser_shape, curl_shape]


@pytest.mark.parametrize("shape", SHAPES)
def test_clients_get_the_faces_that_detect_finds_the_biggest_first(
    open_server: Server, ask: Ask, bright_cells: Cells, shape: Any
) -> None:
    data = bright_cells(3, 5, 9)
    status, headers, answer = ask(open_server, *shape(data))
    assert status == 200, answer
    assert "server-timing" in headers
    url = f"{open_server.url}/detect?min_score=0.4"
    faces = httpx.post(url, content=data).json()["faces"]
    boxes = [each["box"] for each in answer["result"]]
    assert len(boxes) == len(faces) > 0
    assert sorted(box["probability"] for box in boxes) == sorted(f["score"] for f in faces)
    found = {(box["x_min"], box["y_min"], box["x_max"], box["y_max"]) for box in boxes}
    assert all(isinstance(side, int) for box in found for side in box)
    assert found == {
        (
            round(f["box"]["x"]),
            round(f["box"]["y"]),
            round(f["box"]["x"] + f["box"]["width"]),
            round(f["box"]["y"] + f["box"]["height"]),
        )
        for f in faces
    }
    assert answer["plugins_versions"] == {"detector": "cells"}
    assert all(each["execution_time"]["detector"] > 0 for each in answer["result"])


def post(server: Server, data: bytes, **query: str) -> httpx.Response:
    return httpx.post(f"{server.url}{PATH}", params=query, files={"file": ("a.jpg", data)})


def test_faces_are_sorted_by_their_size() -> None:
    boxes = np.array([[0, 0, 2, 2], [5, 5, 9, 9], [0, 0, 1, 20], [1, 1, 3, 3]], np.float32)
    assert biggest_first(boxes).tolist() == [2, 1, 0, 3]
    assert biggest_first(boxes[:0]).tolist() == []


def test_limit_keeps_the_biggest(open_server: Server, bright_cells: Cells) -> None:
    data = bright_cells(3, 5, 9)
    every = post(open_server, data, limit="0").json()["result"]
    assert post(open_server, data, limit="2").json()["result"] == every[:2]
    assert "execution_time" not in every[0]


def test_json_with_base64_is_read(open_server: Server, bright_cells: Cells, as_base64: Any) -> None:
    response = httpx.post(
        f"{open_server.url}{PATH}", json={"file": as_base64(bright_cells(3, 5, 9))}
    )
    assert len(response.json()["result"]) == 3


def test_the_other_fields_of_a_form_are_ignored(open_server: Server, bright_cells: Cells) -> None:
    response = httpx.post(
        f"{open_server.url}{PATH}",
        files={"file": ("a.jpg", bright_cells(3))},
        data={"note": "x" * 2000} | {f"field{n}": "x" for n in range(70)},
    )
    assert response.status_code == 200, response.text


def test_an_image_without_a_face_is_code_28(open_server: Server) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    response = post(open_server, file.getvalue())
    assert response.status_code == 400
    assert response.json() == {"message": "No face is found in the given image", "code": 28}


@pytest.mark.parametrize(
    "query",
    [
        {"det_prob_threshold": "1.01"},
        {"det_prob_threshold": "-1"},
        {"det_prob_threshold": "nan"},
        {"limit": "-1"},
        {"limit": "few"},
        {"status": "perhaps"},
    ],
)
def test_a_wrong_parameter_is_a_400_in_comprefaces_format(
    open_server: Server, bright_cells: Cells, query: dict[str, str]
) -> None:
    response = post(open_server, bright_cells(3), **query)
    assert response.status_code == 400
    assert response.json()["code"] == 26
    assert next(iter(query)) in response.json()["message"]


def test_plugins_are_a_501(open_server: Server, bright_cells: Cells) -> None:
    response = post(open_server, bright_cells(3), face_plugins="age,gender")
    assert response.status_code == 501
    assert "age,gender" in response.json()["message"]
    assert post(open_server, bright_cells(3), face_plugins=",").status_code == 200


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"no image", "application/octet-stream", 415, 21),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400, 21),
        (b"{}", "application/json", 400, 26),
        (b'{"file": 3}', "application/json", 400, 26),
        (b'{"file": "?"}', "application/json", 400, 21),
        (b"{" * 100, "application/json", 400, 26),
    ],
)
def test_a_file_that_is_not_an_image_is_an_error_in_comprefaces_format(
    open_server: Server, content: bytes, content_type: str, status: int, code: int
) -> None:
    headers = {"Content-Type": content_type}
    response = httpx.post(f"{open_server.url}{PATH}", content=content, headers=headers)
    assert response.status_code == status, response.text
    assert response.json()["code"] == code
    assert set(response.json()) == {"message", "code"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "recognition/recognize"),
        ("GET", "recognition/faces"),
        ("POST", "recognition/faces"),
        ("DELETE", "recognition/faces"),
        ("GET", "recognition/subjects"),
        ("PUT", "recognition/subjects/me"),
        ("POST", "verification/verify"),
        ("POST", "recognition/embeddings/recognize"),
    ],
)
def test_features_that_only_compreface_has_are_a_501(
    open_server: Server, method: str, path: str
) -> None:
    response = httpx.request(method, f"{open_server.url}/api/v1/{path}")
    assert response.status_code == 501
    assert set(response.json()) == {"message", "code"}


@pytest.mark.parametrize("compat", ["", "deepstack"])
def test_without_the_setting_the_path_does_not_exist(serve: Any, compat: str) -> None:
    with serve(compat=compat) as client:
        for path in (PATH, "/api/v1/recognition/recognize"):
            response = client.post(path, files={"file": b"x"})
            assert response.status_code == 404
            assert response.json()["type"] == "not-found"


def test_the_key_comes_in_its_header(serve: Any, bright_cells: Cells) -> None:
    with serve(compat="compreface", api_keys=(KEY,)) as client:
        files = {"file": bright_cells(3)}
        right, wrong = (
            client.post(PATH, files=files, headers={"x-api-key": key}) for key in (KEY, "no-such")
        )
        assert (right.status_code, wrong.status_code) == (200, 401)
        assert wrong.json() == {"message": "the API key is not valid", "code": 0}
        counts = client.get("/metrics").text
        for status in (200, 401):
            assert f'sfd_requests_total{{route="{PATH}",status="{status}"}} 1.0' in counts
