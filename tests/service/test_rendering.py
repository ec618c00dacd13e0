"""`render=` over HTTP: the picture instead of JSON."""

import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from starlette.testclient import TestClient

from detection.drawing import COLOUR
from service.errors import NotAcceptable
from service.rendering import PNG, archive, check_zip, media_type

Cells = Callable[..., bytes]
Serve = Callable[..., AbstractContextManager[TestClient]]


def picture(answer: Any) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.parametrize(
    ("kind", "accept", "expected"),
    [
        ("PNG", "*/*", "PNG"),
        ("JPEG", "*/*", "JPEG"),
        ("WEBP", "*/*", "JPEG"),
        ("BMP", "image/*", "JPEG"),
        ("PNG", "image/jpeg", "JPEG"),
        ("JPEG", "image/png", "PNG"),
        ("JPEG", "image/jpeg;q=0.1, image/png;q=0.2", "PNG"),
        ("JPEG", "image/jpeg;q=0, image/*", "PNG"),
    ],
)
def test_the_format_follows_accept_or_else_the_image(
    client: TestClient, bright_cells: Cells, kind: str, accept: str, expected: str
) -> None:
    answer = client.post(
        "/detect?render=boxes", content=bright_cells(5, kind=kind), headers={"Accept": accept}
    )
    image = picture(answer)
    assert image.format == expected
    assert answer.headers["content-type"] == f"image/{expected.lower()}"
    assert image.size == (64, 64)


@pytest.mark.parametrize("accept", ["application/json", "image/webp", "*/*;q=0"])
def test_an_unsupported_output_format_is_not_acceptable(
    client: TestClient, bright_cells: Cells, accept: str
) -> None:
    answer = client.post("/detect?render=blur", content=bright_cells(5), headers={"Accept": accept})
    assert answer.status_code == 406
    assert answer.json()["type"] == "not-acceptable"
    assert "image/png" in answer.json()["detail"]


def test_the_boxes_are_drawn_where_the_faces_are(client: TestClient, bright_cells: Cells) -> None:
    data = bright_cells(5, size=640)
    answer = client.post("/detect?render=boxes", content=data)
    drawn = np.asarray(picture(answer))
    assert tuple(drawn[240, 160]) == COLOUR
    assert tuple(drawn[240, 240]) == (255, 255, 255)


@pytest.mark.parametrize("style", ["blur", "pixelate"])
def test_a_hidden_face_has_lost_its_details(
    client: TestClient, bright_cells: Cells, style: str
) -> None:
    rng = np.random.default_rng(1)
    values = np.asarray(Image.open(io.BytesIO(bright_cells(5, size=640)))).copy()
    face = values[160:320, 160:320]
    face -= rng.integers(0, 120, face.shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(values, "RGB").save(file, "PNG")
    hidden = np.asarray(picture(client.post(f"/detect?render={style}", content=file.getvalue())))
    assert face.std() > 30
    assert hidden[200:280, 200:280].std() < 6
    assert (hidden[:100] == values[:100]).all()


def test_the_count_and_the_times_are_in_the_headers(
    client: TestClient, bright_cells: Cells
) -> None:
    answer = client.post("/detect?render=boxes", content=bright_cells(0, 5))
    assert answer.headers["x-faces"] == "2"
    assert "inference;dur=" in answer.headers["server-timing"]
    assert "render;dur=" in answer.headers["server-timing"]
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["cache-control"] == "no-store"


def test_a_picture_of_several_images_is_refused(client: TestClient, bright_cells: Cells) -> None:
    files = [("a", bright_cells(1)), ("b", bright_cells(2))]
    answer = client.post("/detect?render=boxes", files=files)
    assert answer.status_code == 422
    assert "one image" in answer.json()["detail"]


def test_a_failing_image_is_a_problem_with_render_too(client: TestClient) -> None:
    answer = client.post("/detect?render=boxes", content=b"nothing")
    assert (answer.status_code, answer.json()["type"]) == (415, "unsupported-media-type")


def test_no_face_is_hidden_in_a_thread_after_the_deadline(
    serve: Serve, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    hidden = 0

    def slow(image: Image.Image, boxes: object, style: str, check: Callable[[], None]) -> None:
        nonlocal hidden
        try:
            for _face in range(500):
                check()
                hidden += 1
                time.sleep(0.02)
        finally:
            ended.set()

    monkeypatch.setattr("detection.rendering.hide", slow)
    headers = {"X-Request-Timeout": "0.5"}
    with serve(decoding="threads") as client:
        answer = client.post("/detect?render=blur", content=bright_cells(1), headers=headers)
    assert answer.status_code == 504
    assert ended.wait(2), "of ten seconds"
    assert 0 < hidden < 100


def test_a_zip_file_holds_the_crops_and_the_answer() -> None:
    with ZipFile(io.BytesIO(archive([b"one", b"two"], '{"faces": []}'))) as made:
        found = {name: made.read(name) for name in made.namelist()}
    assert found == {
        "face-001.jpg": b"one", "face-002.jpg": b"two", "faces.json": b'{"faces": []}'
    }  # fmt: skip


@pytest.mark.parametrize("accept", ["", "*/*", "application/*", "text/html, application/zip"])
def test_a_zip_file_is_sent_if_the_client_accepts_one(accept: str) -> None:
    check_zip(accept)


@pytest.mark.parametrize("accept", ["application/json", "image/*", "application/zip;q=0"])
def test_otherwise_a_zip_file_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="application/zip"):
        check_zip(accept)


def test_an_unknown_value_of_render_is_an_invalid_parameter(
    client: TestClient, bright_cells: Cells
) -> None:
    answer = client.post("/detect?render=mosaic", content=bright_cells(1))
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-parameter")


def secretive(kind: str) -> bytes:
    """A picture whose metadata states its place, author and camera."""
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera"
    exif.get_ifd(0x8825)[1] = "N"
    image = Image.new("RGB", (64, 64), (250, 250, 250))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SECRET text")
    image.save(
        file, kind, exif=exif, icc_profile=profile, xmp=b"<x>SECRET</x>", comment=b"SECRET",
        pnginfo=text,
    )  # fmt: skip
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("style", ["boxes", "blur", "pixelate"])
def test_no_metadata_is_copied(client: TestClient, kind: str, style: str) -> None:
    data = secretive(kind)
    assert b"SECRET" in data
    answer = client.post(f"/detect?render={style}", content=data)
    image = picture(answer)
    image.load()
    assert b"SECRET" not in answer.content
    assert not set(image.info) - {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert not image.getexif()


def test_the_picture_is_upright(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (64, 32), (10, 10, 10))
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    assert picture(client.post("/detect?render=boxes", content=file.getvalue())).size == (32, 64)


def test_a_side_too_long_for_jpeg_is_sent_as_png() -> None:
    jpeg = b"\xff\xd8\xff\xe0"
    assert media_type("*/*", jpeg, 70_000, 10) == PNG
    with pytest.raises(NotAcceptable, match="image/png"):
        media_type("image/jpeg", jpeg, 70_000, 10)


def test_many_pictures_at_once_are_each_the_right_one(serve: Serve, bright_cells: Cells) -> None:
    with serve(threads=4) as client:

        def ask(cell: int) -> bytes:
            return client.post("/detect?render=boxes", content=bright_cells(cell, size=256)).content

        alone = [ask(cell) for cell in range(16)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, list(range(16)) * 3)) == alone * 3


def test_no_hostile_file_breaks_the_picture(client: TestClient, shared: Path) -> None:
    """A third of the files: each gets its picture, or the same problem as from /detect."""
    files = sorted(path for path in (shared / "hostile").rglob("*") if path.is_file())[::3]
    styles = ("boxes", "blur", "pixelate")
    pictures = 0
    for index, file in enumerate(files):
        query = {"render": styles[index % 3], "min_score": "0.1", "tiles": "auto"}
        answer = client.post("/detect", content=file.read_bytes(), params=query)
        assert answer.status_code in (200, 400, 413, 415), (file, answer.text[:200])
        if answer.status_code == 200:
            picture(answer).load()
            pictures += 1
    assert pictures > len(files) / 4
