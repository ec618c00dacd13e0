"""`crops=` and `render=crops` over HTTP: a picture of each face."""

import io
import json
import time
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator

import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.routes import detect
from tests.servers import Serve

Cells = Callable[..., bytes]


def test_crops_come_with_the_json(client: TestClient, bright_cells: Cells) -> None:
    query = {"crops": "true", "crop_margin": "0", "crop_size": "64"}
    faces = client.post("/detect", content=bright_cells(1, 2, 5), params=query).json()["faces"]
    assert len(faces) == 3
    for face in faces:
        crop = Image.open(io.BytesIO(b64decode(face["crop"])))
        assert crop.format == "JPEG"
        assert crop.size == (17, 17)  # 16 pixels of the cell, rounded outwards
        assert min(crop.getpixel((8, 8))) > 200  # type: ignore[arg-type]


def test_without_crops_a_face_has_no_crop_member(client: TestClient, bright_cells: Cells) -> None:
    (face,) = client.post("/detect", content=bright_cells(1)).json()["faces"]
    assert set(face) == {"box", "score"}


def test_crops_are_returned_with_their_image(client: TestClient, bright_cells: Cells) -> None:
    parts = [bright_cells(1), b"broken", bright_cells(), bright_cells(2, 3)]
    files = [("image", ("x", part)) for part in parts]
    one, broken, none, two = client.post("/detect?crops=true", files=files).json()["results"]
    assert [len(result["faces"]) for result in (one, none, two)] == [1, 0, 2]
    assert "error" in broken
    assert all(face["crop"] for result in (one, two) for face in result["faces"])


def test_a_crop_is_at_most_as_large_as_asked(client: TestClient, bright_cells: Cells) -> None:
    data = bright_cells(5, size=1600)  # a cell of 400 pixels, and 100 on each side
    query = {"crops": True, "crop_size": 100}
    face = client.post("/detect", content=data, params=query).json()["faces"][0]
    assert Image.open(io.BytesIO(b64decode(face["crop"]))).size == (100, 100)


def test_crops_that_take_too_much_memory_are_refused(
    client: TestClient, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [("image", ("x", bright_cells(1, 2))), ("image", ("x", bright_cells(3)))]
    taken = sum(
        len(b64decode(face["crop"]))
        for result in client.post("/detect?crops=true", files=files).json()["results"]
        for face in result["faces"]
    )
    monkeypatch.setattr(detect, "MOST_CROP_BYTES", taken)
    assert client.post("/detect?crops=true", files=files).status_code == 200
    monkeypatch.setattr(detect, "MOST_CROP_BYTES", taken - 1)
    answer = client.post("/detect?crops=true", files=files)
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-parameter")
    assert "max_faces" in answer.json()["detail"]


def test_no_crop_is_made_in_a_thread_after_the_deadline(
    serve: Serve, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    def slow(*_: object, **__: object) -> Iterator[bytes]:
        nonlocal made
        for _number in range(500):
            made += 1
            yield b"a crop"
            time.sleep(0.02)

    monkeypatch.setattr("detection.rendering.crops", slow)
    headers = {"X-Request-Timeout": "0.5"}
    with serve(decoding="threads") as client:
        answer = client.post("/detect?crops=true", content=bright_cells(1), headers=headers)
        assert answer.status_code == 504
        time.sleep(0.1)
        then = made
        time.sleep(0.3)
    assert 0 < made == then


def test_render_crops_answers_with_a_zip_file(client: TestClient, bright_cells: Cells) -> None:
    answer = client.post("/detect?render=crops", content=bright_cells(1, 2))
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["x-faces"] == "2"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        assert made.testzip() is None
        assert made.namelist() == ["face-001.jpg", "face-002.jpg", "faces.json"]
        assert len(json.loads(made.read("faces.json"))["faces"]) == 2
        assert Image.open(io.BytesIO(made.read("face-001.jpg"))).format == "JPEG"


def test_render_crops_without_faces_is_a_zip_file_too(
    client: TestClient, bright_cells: Cells
) -> None:
    answer = client.post("/detect?render=crops", content=bright_cells())
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        assert made.namelist() == ["faces.json"]


@pytest.mark.parametrize(
    ("accept", "status"), [("application/zip", 200), ("*/*", 200), ("image/png", 406)]
)
def test_render_crops_respects_the_accept_header(
    client: TestClient, bright_cells: Cells, accept: str, status: int
) -> None:
    answer = client.post(
        "/detect?render=crops", content=bright_cells(1), headers={"Accept": accept}
    )
    assert answer.status_code == status


def test_render_crops_of_a_broken_image_is_an_error(client: TestClient) -> None:
    assert client.post("/detect?render=crops", content=b"broken").status_code in (400, 415)
