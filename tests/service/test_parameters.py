"""Parameters in the query, in form fields and in JSON mean the same."""

import io
import json
import zipfile
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

Cells = Callable[..., bytes]
Base64 = Callable[[bytes], str]

WAYS = ("query", "form", "json")


@pytest.fixture
def ask(client: TestClient, bright_cells: Cells, as_base64: Base64) -> Callable[..., Any]:
    """Sends one image with parameters in one of the WAYS, or in two of them."""
    data = bright_cells(1, 2, 5)

    def send(way: str, query: dict[str, Any] | None = None, **given: Any) -> Any:
        if way == "query":
            return client.post("/detect", content=data, params=given)
        if way == "form":
            files = {"image": ("a.png", data)}
            return client.post("/detect", files=files, data=given, params=query)
        body = {"image": as_base64(data), **given}
        return client.post("/detect", json=body, params=query)

    return send


@pytest.mark.parametrize("way", WAYS)
def test_a_parameter_has_the_same_effect_in_each_place(ask: Callable[..., Any], way: str) -> None:
    answer = ask(way, max_faces=2, min_score=0.3)
    assert answer.status_code == 200
    assert len(answer.json()["faces"]) == 2


@pytest.mark.parametrize("way", WAYS)
def test_the_answer_to_one_image_keeps_its_shape_with_parameters(
    ask: Callable[..., Any], way: str
) -> None:
    assert "results" not in ask(way, min_score=0.3).json()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"min_score": "2"}, "min_score: Input should be less than or equal to 1"),
        ({"min_skore": "0.5"}, "min_skore: unknown parameter"),
        ({"tiles": "on"}, "tiles: Input should be 'off' or 'auto'"),
        ({"min_size": "-1"}, "min_size: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_parameter_gets_the_same_error_in_each_place(
    ask: Callable[..., Any], way: str, given: dict[str, str], says: str
) -> None:
    answer = ask(way, **given)
    assert (answer.status_code, answer.json()["detail"]) == (422, says)


@pytest.mark.parametrize("way", ["form", "json"])
def test_two_places_with_two_values_are_refused(ask: Callable[..., Any], way: str) -> None:
    answer = ask(way, {"min_score": "0.5"}, min_score=0.3)
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "min_score: is given twice, as '0.5' and '0.3'; give it once"
    )


@pytest.mark.parametrize("way", ["form", "json"])
def test_two_places_with_one_value_are_fine(ask: Callable[..., Any], way: str) -> None:
    assert ask(way, {"min_score": "0.50"}, min_score=0.5).status_code == 200


def test_the_query_may_not_give_a_parameter_two_values(
    client: TestClient, bright_cells: Cells
) -> None:
    answer = client.post("/detect?max_faces=1&max_faces=2", content=bright_cells(1))
    assert answer.status_code == 422
    assert "given twice" in answer.json()["detail"]


def test_null_in_json_means_that_the_parameter_is_left_out(ask: Callable[..., Any]) -> None:
    assert len(ask("json", max_faces=None).json()["faces"]) == 3


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_a_json_parameter_is_a_single_value(ask: Callable[..., Any], value: Any) -> None:
    answer = ask("json", max_faces=value)
    assert (answer.status_code, answer.json()["detail"]) == (
        422, "max_faces: must be a single value"
    )  # fmt: skip


def test_true_is_not_a_number(ask: Callable[..., Any]) -> None:
    assert ask("json", max_faces=True).status_code == 422


def test_the_error_shortens_a_long_unknown_name(ask: Callable[..., Any]) -> None:
    answer = ask("json", **{"x" * 100_000: 1})
    assert answer.status_code == 422
    assert len(answer.text) < 500


@pytest.mark.parametrize("way", WAYS)
def test_the_model_can_be_named_in_each_place(ask: Callable[..., Any], way: str) -> None:
    assert ask(way, model="cells").json()["model"]["name"] == "cells"
    assert ask(way, model="nobody").status_code == 404


@pytest.mark.parametrize(
    "label", [None, "application/x-www-form-urlencoded", "text/plain", "text/json"]
)
def test_json_is_known_without_its_content_type(
    client: TestClient, bright_cells: Cells, as_base64: Base64, label: str | None
) -> None:
    body = " \n" + json.dumps({"image": as_base64(bright_cells(3)), "min_score": 0.3})
    headers = {} if label is None else {"Content-Type": label}
    answer = client.post("/detect", content=body, headers=headers)
    assert answer.status_code == 200
    assert len(answer.json()["faces"]) == 1


def test_small_faces_are_dropped_if_the_request_says_so(
    client: TestClient, bright_cells: Cells
) -> None:
    data = bright_cells(1, 2, size=640)  # cells of 160 pixels
    assert len(client.post("/detect?min_size=159.9", content=data).json()["faces"]) == 2
    assert client.post("/detect?min_size=160.1", content=data).json()["faces"] == []


@pytest.mark.parametrize("way", WAYS)
def test_crops_come_with_the_json(ask: Callable[..., Any], way: str) -> None:
    faces = ask(way, crops="true", crop_margin="0", crop_size="64").json()["faces"]
    assert len(faces) == 3
    for face in faces:
        crop = Image.open(io.BytesIO(b64decode(face["crop"])))
        assert crop.format == "JPEG"
        assert crop.size == (17, 17)  # 16 pixels of the cell, rounded outwards
        assert min(crop.getpixel((8, 8))) > 200  # type: ignore[arg-type]


def test_without_crops_a_face_has_no_such_member(ask: Callable[..., Any]) -> None:
    assert set(ask("query").json()["faces"][0]) == {"box", "score"}


def test_crops_of_several_images_stay_with_their_image(
    client: TestClient, bright_cells: Cells
) -> None:
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


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan"])
def test_an_invalid_deadline_is_refused(client: TestClient, bright_cells: Cells, text: str) -> None:
    answer = client.post("/detect", content=bright_cells(1), headers={"X-Request-Timeout": text})
    assert (answer.status_code, answer.json()["detail"]) == (
        422, "X-Request-Timeout: must be a number of seconds above 0"
    )  # fmt: skip


def test_a_client_gets_a_504_at_its_own_deadline(
    start_server: Any, bright_cells: Cells, sleeping: Callable[[object], str]
) -> None:
    with start_server(before=sleeping("2 * (images[0].max() == 255)")) as server:
        answer = httpx.post(
            f"{server.url}/detect",
            content=bright_cells(1),
            headers={"X-Request-Timeout": "0.3"},
            timeout=20,
        )
    assert answer.status_code == 504
    assert answer.elapsed.total_seconds() < 1.9


def test_times_have_microseconds(start_server: Any, bright_cells: Cells) -> None:
    """uvloop's clock counts whole milliseconds, so no time that we show may come from it."""
    with start_server() as server:
        times = [
            httpx.post(f"{server.url}/detect", content=bright_cells(1)).json()["timings_ms"]
            for _ in range(8)
        ]
    for stage in times[0]:
        assert any(one[stage] % 1 for one in times), stage
