"""Requests as DeepStack's clients send them, byte for byte, over a real socket."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.servers import Server
from tests.service.compat.conftest import KEY, Ask, lines

Cells = Callable[..., bytes]
PATH = "/v1/vision/face"


def requests_shape(data: bytes) -> tuple[str, bytes]:
    """requests: deepstack-python, with which Home Assistant's HASS-Deepstack-face asks."""
    edge = "d1b8c2e63a0f4c0b9d6e3a7f5c2b1a09"
    head = f"""POST {PATH} HTTP/1.1
Host: localhost:80
User-Agent: python-requests/2.32.3
Accept-Encoding: gzip, deflate
Accept: */*
Connection: keep-alive
Content-Type: multipart/form-data; boundary={edge}"""
    return head, lines(
        f"--{edge}", 'Content-Disposition: form-data; name="api_key"', "", "",
        f"--{edge}", 'Content-Disposition: form-data; name="min_confidence"', "", "0.45",
        f"--{edge}", 'Content-Disposition: form-data; name="image"; filename="image"', "", data,
        f"--{edge}--",
    )  # fmt: skip


def frigate_shape(data: bytes) -> tuple[str, bytes]:
    """requests with no min_confidence: Frigate's detector plugin."""
    edge = "6f0e1d2c3b4a59687786958493a2b1c0"
    head = f"""POST {PATH} HTTP/1.1
Host: sfd:8000
User-Agent: python-requests/2.32.3
Accept-Encoding: gzip, deflate
Accept: */*
Connection: keep-alive
Content-Type: multipart/form-data; boundary={edge}"""
    return head, lines(
        f"--{edge}", 'Content-Disposition: form-data; name="api_key"', "", "",
        f"--{edge}", 'Content-Disposition: form-data; name="image"; filename="image"', "", data,
        f"--{edge}--",
    )  # fmt: skip


def form_data_shape(data: bytes) -> tuple[str, bytes]:
    """axios with the npm package form-data: Double Take."""
    edge = "--------------------------515890814546601021194782"
    head = f"""POST {PATH} HTTP/1.1
Accept: application/json, text/plain, */*
Content-Type: multipart/form-data; boundary={edge}
User-Agent: axios/0.21.1
Host: localhost
Connection: close"""
    return head, lines(
        f"--{edge}", 'Content-Disposition: form-data; name="image"; filename="snapshot.jpg"',
        "Content-Type: image/jpeg", "", data,
        f"--{edge}--",
    )  # fmt: skip


def dotnet_shape(data: bytes) -> tuple[str, bytes]:
    """.NET's HttpClient: unquoted names, a type for each field, a quoted boundary."""
    edge = "0d4f6f9c-9f3b-4d1e-8f5e-2b6d9f0a1c3e"
    head = f"""POST {PATH} HTTP/1.1
Host: localhost:32168
Content-Type: multipart/form-data; boundary="{edge}\""""
    return head, lines(
        f"--{edge}", "Content-Type: application/octet-stream",
        "Content-Disposition: form-data; name=image; filename=a.jpg; filename*=utf-8''a.jpg", "",
        data,
        f"--{edge}", "Content-Type: text/plain; charset=utf-8",
        "Content-Disposition: form-data; name=min_confidence", "", "0.4",
        f"--{edge}--",
    )  # fmt: skip


def curl_shape(data: bytes) -> tuple[str, bytes]:
    """curl -F image=@photo.jpg -F min_confidence=0.6, as DeepStack's documentation says."""
    edge = "------------------------nCzhYVB9KuaF8o1lGzKzQh"
    head = f"""POST {PATH} HTTP/1.1
Host: localhost:8000
User-Agent: curl/8.5.0
Accept: */*
Content-Type: multipart/form-data; boundary={edge}"""
    return head, lines(
        f"--{edge}", 'Content-Disposition: form-data; name="image"; filename="photo.jpg"',
        "Content-Type: image/jpeg", "", data,
        f"--{edge}", 'Content-Disposition: form-data; name="min_confidence"', "", "0.6",
        f"--{edge}", 'Content-Disposition: form-data; name="userid"', "", "ignored",
        f"--{edge}--",
    )  # fmt: skip


SHAPES = [requests_shape, frigate_shape, form_data_shape, dotnet_shape, curl_shape]


@pytest.mark.parametrize("shape", SHAPES)
def test_clients_get_the_faces_that_detect_finds(
    open_server: Server, ask: Ask, bright_cells: Cells, shape: Any
) -> None:
    data = bright_cells(3, 5, 9)
    status, headers, answer = ask(open_server, *shape(data))
    assert status == 200, answer
    assert "server-timing" in headers
    assert answer["success"] is True
    faces = httpx.post(f"{open_server.url}/detect", content=data).json()["faces"]
    assert len(faces) == answer["count"] == len(answer["predictions"]) > 0
    for face, found in zip(faces, answer["predictions"], strict=True):
        box = face["box"]
        assert found["label"] == "face"
        assert found["confidence"] == face["score"]
        for name, exact in {
            "x_min": box["x"],
            "y_min": box["y"],
            "x_max": box["x"] + box["width"],
            "y_max": box["y"] + box["height"],
        }.items():
            assert isinstance(found[name], int)
            assert abs(found[name] - exact) <= 0.501
    confidences = [each["confidence"] for each in answer["predictions"]]
    assert confidences == sorted(confidences, reverse=True)
    assert isinstance(answer["duration"], int)


def test_the_python_package_reads_the_answer(open_server: Server, bright_cells: Cells) -> None:
    core = pytest.importorskip("deepstack.core")

    host, _, port = open_server.url.removeprefix("http://").partition(":")
    client = core.DeepstackFace(host, int(port), min_confidence=0.5)
    found = client.detect(bright_cells(3, 5, 9))
    assert len(found) == 3
    assert all(face["x_min"] < face["x_max"] for face in found)
    with pytest.raises(core.DeepstackException, match="501"):
        client.recognize(bright_cells(3))


def test_an_image_without_a_face_is_an_empty_list(open_server: Server, ask: Ask) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    status, _, answer = ask(open_server, *frigate_shape(file.getvalue()))
    assert status == 200
    assert (answer["success"], answer["predictions"], answer["count"]) == (True, [], 0)
    assert answer["message"] == "Found 0 faces"


def post(server: Server, data: bytes, **fields: str) -> httpx.Response:
    return httpx.post(f"{server.url}{PATH}", files={"image": ("a", data)}, data=fields)


def test_min_confidence_is_the_minimum_score(open_server: Server, bright_cells: Cells) -> None:
    data = bright_cells(3)
    assert post(open_server, data, min_confidence="1").json()["count"] == 0
    for given, same in (("0", 0.0), ("0.001", 0.001), ("", None)):
        found = post(open_server, data, min_confidence=given).json()
        query = {} if same is None else {"min_score": same}
        faces = httpx.post(f"{open_server.url}/detect", content=data, params=query).json()["faces"]
        assert found["count"] == len(faces) >= 1


@pytest.mark.parametrize("value", ["1.5", "-0.1", "much", "nan", "inf"])
def test_a_wrong_min_confidence_is_a_400_in_deepstacks_format(
    open_server: Server, bright_cells: Cells, value: str
) -> None:
    response = post(open_server, bright_cells(3), min_confidence=value)
    assert response.status_code == 400
    assert response.json()["success"] is False
    assert "min_confidence" in response.json()["error"]
    assert set(response.json()) == {"success", "error"}


@pytest.mark.parametrize(
    "fields", [{"note": "x" * 2000}, {f"field{n}": "x" for n in range(70)}, {"min_score": "much"}]
)
def test_other_fields_of_a_form_are_ignored(
    open_server: Server, bright_cells: Cells, fields: dict[str, str]
) -> None:
    response = post(open_server, bright_cells(3), **fields)
    assert response.status_code == 200, response.text
    assert response.json()["count"] == 1


@pytest.mark.parametrize("other", [{"meta": {"a": 1}}, {"tags": ["a"]}, {"min_score": "much"}])
def test_other_members_of_json_are_ignored(
    open_server: Server, bright_cells: Cells, as_base64: Any, other: dict[str, Any]
) -> None:
    url = f"{open_server.url}{PATH}"
    body = {"image": as_base64(bright_cells(3)), **other}
    assert httpx.post(url, json=body).json()["count"] == 1
    assert httpx.post(url, json=body | {"min_confidence": 1}).json()["count"] == 0
    assert httpx.post(url, json=body | {"min_confidence": [1]}).status_code == 400


def test_two_images_are_refused(open_server: Server, bright_cells: Cells) -> None:
    files = [("image", ("a", bright_cells(3)))] * 2
    response = httpx.post(f"{open_server.url}{PATH}", files=files)
    assert response.status_code == 413
    assert response.json()["error"] == "the request has more than 1 image"


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"no image", "application/octet-stream", 415),
        (b"", "", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400),
        (b"{}", "application/json", 400),
        (b'{"url": "http://127.0.0.1/"}', "application/json", 400),
        (b'{"urls": ["http://127.0.0.1/"]}', "application/json", 400),
        (b'{"images": ["?"]}', "application/json", 400),
        (b'{"images": ["", ""]}', "application/json", 413),
    ],
)
def test_a_file_that_is_not_an_image_is_an_error_in_deepstacks_format(
    open_server: Server, content: bytes, content_type: str, status: int
) -> None:
    headers = {"Content-Type": content_type}
    response = httpx.post(f"{open_server.url}{PATH}", content=content, headers=headers)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"success", "error"}


@pytest.mark.parametrize(
    "path",
    ["/face/recognize", "/face/register", "/face/list", "/face/delete", "/face/match",
     "/detection", "/scene", "/custom/mine", "/"],
)  # fmt: skip
def test_features_that_only_deepstack_has_are_a_501(open_server: Server, path: str) -> None:
    response = httpx.post(f"{open_server.url}/v1/vision{path}", data={"userid": "me"})
    expected = 404 if path == "/" else 501
    assert response.status_code == expected
    assert response.json()["success"] is False
    assert response.json()["error"]


def test_another_method_is_a_405_in_deepstacks_format(open_server: Server) -> None:
    response = httpx.get(f"{open_server.url}{PATH}")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["success"] is False


def test_requests_are_counted_by_route(start_server: Any, bright_cells: Cells) -> None:
    with start_server(COMPAT="deepstack") as server:
        post(server, bright_cells(3))
        httpx.post(f"{server.url}/v1/vision/face/recognize")
        found = server.metrics()
        assert found[f'sfd_requests_total{{route="{PATH}",status="200"}}'] == 1
        refused = 'sfd_requests_total{route="/v1/vision/{operation:path}",status="501"}'
        assert found[refused] == 1
        assert found['sfd_rejected_total{reason="not-supported"}'] == 1


@pytest.mark.parametrize("compat", ["", "compreface"])
def test_without_the_setting_the_path_does_not_exist(serve: Any, compat: str) -> None:
    with serve(compat=compat) as client:
        for path in (PATH, f"{PATH}/recognize"):
            response = client.post(path, files={"image": b"x"})
            assert response.status_code == 404
            assert response.json()["type"] == "not-found"


# --- keys


@pytest.fixture
def guarded(serve: Any) -> Any:
    with serve(compat="deepstack", api_keys=(KEY, "another-long-key")) as client:
        yield client


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"Authorization": "Bearer "}])
def test_the_key_comes_as_a_field_of_the_form(
    guarded: Any, bright_cells: Cells, headers: dict[str, str]
) -> None:
    files = {"image": bright_cells(3)}
    sent = guarded.post(PATH, files=files, data={"api_key": KEY}, headers=headers)
    assert sent.status_code == 200


@pytest.mark.parametrize("headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}])
def test_the_key_comes_in_a_header_too(
    guarded: Any, bright_cells: Cells, headers: dict[str, str]
) -> None:
    files = {"image": bright_cells(3)}
    sent = guarded.post(PATH, files=files, data={"api_key": ""}, headers=headers)
    assert sent.status_code == 200


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, {}),
        ({"api_key": ""}, {}),
        ({"min_confidence": "wrong too"}, {}),
        ({"api_key": KEY[:-1]}, {}),
        ({"api_key": f"{KEY},another-long-key"}, {}),
        ({"api_key": KEY}, {"X-API-Key": "a-wrong-long-key"}),
    ],
)
def test_without_a_key_nothing_is_detected(
    guarded: Any, bright_cells: Cells, fields: dict[str, str], headers: dict[str, str]
) -> None:
    files = {"image": bright_cells(3)}
    response = guarded.post(PATH, files=files, data=fields, headers=headers)
    assert response.status_code == 401
    assert response.json()["success"] is False
    assert "Bearer" in response.headers["www-authenticate"]
    counts = guarded.get("/metrics").text
    assert f'sfd_requests_total{{route="{PATH}",status="401"}} 1.0' in counts
    assert "sfd_batch_size_count 0.0" in counts


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/detect"),
        ("POST", "/v1/visions"),
        ("POST", "/v1/vision/../../detect"),
        ("POST", "/v1/vision%2F..%2F..%2Fdetect"),
        ("POST", f"{PATH}/recognize"),
        ("GET", PATH),
        ("PUT", PATH),
    ],
)
def test_the_key_is_in_the_body_of_no_other_request(guarded: Any, method: str, path: str) -> None:
    response = guarded.request(method, path, files={"image": b"x"}, data={"api_key": KEY})
    assert response.status_code == 401
    assert "sfd_batch_size_count 0.0" in guarded.get("/metrics").text


def test_with_a_key_in_a_header_the_other_calls_are_a_501(guarded: Any) -> None:
    headers = {"X-API-Key": KEY}
    response = guarded.post(f"{PATH}/recognize", files={"image": b"x"}, headers=headers)
    assert response.status_code == 501


# --- limits


def test_a_full_queue_says_when_to_try_again(start_server: Any, bright_cells: Cells) -> None:
    before = "import detection.batcher as b; from detection.errors import Overloaded\n"
    before += "def full(self, **_): raise Overloaded('the queue of 1 images is full', 7)\n"
    before += "b.Batcher.check_room = full"
    with start_server(before, COMPAT="deepstack") as server:
        response = post(server, bright_cells(3))
        assert (response.status_code, response.headers["retry-after"]) == (503, "7")
        assert response.json() == {"success": False, "error": "the queue of 1 images is full"}


def test_a_large_body_is_a_413_before_it_is_read(start_server: Any) -> None:
    with start_server(COMPAT="deepstack", MAX_BYTES=1000) as server:
        response = post(server, bytes(5000))
        assert response.status_code == 413
        assert response.json()["success"] is False


def test_the_clients_deadline_is_kept(
    start_server: Any, sleeping: Callable[[object], str], bright_cells: Cells
) -> None:
    with start_server(sleeping("2 * bool(images[0].max() == 255)"), COMPAT="deepstack") as server:
        response = httpx.post(
            f"{server.url}{PATH}",
            files={"image": bright_cells(3)},
            headers={"X-Request-Timeout": "0.3"},
            timeout=20,
        )
        assert response.status_code == 504
        assert response.json()["success"] is False


def test_a_client_that_leaves_is_dropped_before_inference(
    start_server: Any, holding: Callable[[Path], str], bright_cells: Cells, tmp_path: Path
) -> None:
    go_on = tmp_path / "go_on"
    head, body = requests_shape(bright_cells(3))
    text = "\r\n".join([*head.splitlines(), f"Content-Length: {len(body)}", "", ""])
    with start_server(holding(go_on), COMPAT="deepstack", MAX_BATCH=1) as server:
        busy, leaving = server.connect(), server.connect()
        busy.sendall(text.encode() + body)
        server.wait_for("sfd_batch_size_count", 1)
        leaving.sendall(text.encode() + body)
        server.wait_for("sfd_queue_depth", 1)
        leaving.close()
        server.wait_for(f'sfd_requests_total{{route="{PATH}",status="499"}}', 1)
        go_on.touch()
        assert busy.recv(12) == b"HTTP/1.1 200"
        server.wait_until_idle()
        assert server.metrics()["sfd_batch_size_count"] == 1
