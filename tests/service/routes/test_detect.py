import io
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from detection.letterbox import Pixels
from detection.predictions import Predictions
from detection.session import Session
from service.runtime import Runtime
from tests.cells import cells_of
from tests.servers import problem_of

Cells = Callable[..., bytes]
Base64 = Callable[[bytes], str]


def post(client: TestClient, data: bytes, **query: Any) -> Any:
    return client.post("/detect", content=data, params=query)


def test_one_image_is_answered_as_documented(client: TestClient, bright_cells: Cells) -> None:
    response = post(client, bright_cells(5))
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {
        "request_id", "model", "image", "faces", "timings_ms", "batch_size"
    }  # fmt: skip
    assert body["model"] == {"name": "cells", "version": "7"}
    assert body["image"] == {"width": 64, "height": 64}
    assert body["faces"] == [{"box": {"x": 16, "y": 16, "width": 16, "height": 16}, "score": 1.0}]
    assert body["request_id"] == response.headers["x-request-id"]
    times = body["timings_ms"]
    assert set(times) == {
        "decode", "preprocess", "queue", "inference", "postprocess", "total"
    }  # fmt: skip
    assert sum(times.values()) - times["total"] <= times["total"] + 0.01  # no stage overlaps
    assert response.headers["server-timing"] == ", ".join(
        f"{stage};dur={ms}" for stage, ms in times.items()
    )


def test_an_image_without_faces_gives_an_empty_list(
    client: TestClient, bright_cells: Cells
) -> None:
    response = post(client, bright_cells())
    assert response.status_code == 200
    assert response.json()["faces"] == []


@pytest.mark.parametrize(
    "label",
    ["image/png", "image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded"],
)
def test_a_file_is_recognised_by_its_bytes_not_by_its_label(
    client: TestClient, bright_cells: Cells, label: str
) -> None:
    data = bright_cells(3)
    response = client.post("/detect", content=data, headers={"Content-Type": label})
    assert cells_of(response.json()) == {3}


def test_boxes_are_in_pixels_of_the_image_as_sent(client: TestClient, bright_cells: Cells) -> None:
    body = post(client, bright_cells(10, size=640)).json()
    assert body["image"] == {"width": 640, "height": 640}
    assert body["faces"][0]["box"] == {"x": 320, "y": 320, "width": 160, "height": 160}


def test_a_multipart_image_may_have_any_field_name(client: TestClient, bright_cells: Cells) -> None:
    response = client.post("/detect", files={"whatever": ("x", bright_cells(3))})
    assert cells_of(response.json()) == {3}


def test_several_images_are_answered_in_order_and_only_a_bad_one_fails(
    client: TestClient, bright_cells: Cells
) -> None:
    parts = [bright_cells(1), b"no image at all", bright_cells(2), b"%PDF-1.7"]
    response = client.post("/detect", files=[("image", ("x", part)) for part in parts])
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"request_id", "model", "results", "timings_ms"}
    good, bad, other, pdf = body["results"]
    assert (cells_of(good), cells_of(other)) == ({1}, {2})
    assert set(good) == {"image", "faces", "timings_ms", "batch_size"}
    assert (bad["error"]["type"], bad["error"]["status"]) == ("unsupported-media-type", 415)
    assert pdf["error"]["request_id"] == body["request_id"]
    assert body["timings_ms"]["total"] > 0
    assert "total;dur=" in response.headers["server-timing"]


def test_the_images_of_one_request_are_inferred_together(
    client: TestClient, bright_cells: Cells
) -> None:
    files = [("image", ("x", bright_cells(i))) for i in range(8)]
    results = client.post("/detect", files=files).json()["results"]
    assert [cells_of(result) for result in results] == [{i} for i in range(8)]
    assert max(result["batch_size"] for result in results) > 1


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b"--x"),
        ("multipart/form-data; boundary=" + "x" * 71, b"--x"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"garbage"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nabc"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a: b\r\n" * 5000),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a" * 100_000 + b": b\r\n\r\n"),
    ],
)
def test_a_broken_multipart_body_is_explained(
    client: TestClient, content_type: str, body: bytes
) -> None:
    response = client.post("/detect", content=body, headers={"Content-Type": content_type})
    problem_of(response, 400, "invalid-image")


def test_an_empty_body_is_explained(client: TestClient) -> None:
    assert "send an image file" in problem_of(post(client, b""), 400, "invalid-image")["detail"]


def shades(**cells: int) -> bytes:
    """A picture whose cell c1 has the given gray, and so on."""
    values = np.zeros((4, 4), np.uint8)
    for cell, gray in cells.items():
        values.flat[int(cell[1:])] = gray
    file = io.BytesIO()
    Image.fromarray(values).resize((64, 64), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("query", "cells"),
    [
        ({}, {1, 2}),
        ({"min_score": 0.05}, {1, 2, 3}),
        ({"min_score": 0.9}, {1}),
        ({"min_score": 1}, set()),
        ({"max_faces": 1}, {1}),
        ({"model": "cells"}, {1, 2}),
    ],
)
def test_each_request_has_its_own_thresholds(
    client: TestClient, query: dict[str, Any], cells: set[int]
) -> None:
    response = post(client, shades(c1=250, c2=200, c3=20), **query)
    assert cells_of(response.json()) == cells


def test_faces_come_best_first(client: TestClient) -> None:
    faces = post(client, shades(c0=180, c5=250, c9=220)).json()["faces"]
    assert [face["score"] for face in faces] == [0.9804, 0.8627, 0.7059]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"min_score": 1.5}, "min_score: "),
        ({"min_score": "high"}, "min_score: "),
        ({"min_score": "nan"}, "min_score: "),
        ({"nms_iou": -0.1}, "nms_iou: "),
        ({"max_faces": 0}, "max_faces: "),
        ({"max_faces": 1.5}, "max_faces: "),
        ({"minscore": 0.5}, "minscore: unknown parameter"),
    ],
)
def test_the_error_for_a_wrong_parameter_names_it(
    client: TestClient, bright_cells: Cells, query: dict[str, Any], says: str
) -> None:
    response = post(client, bright_cells(), **query)
    assert says in problem_of(response, 422, "invalid-parameter")["detail"]


def test_an_unknown_model_is_refused_with_the_known_ones(serve: Any, bright_cells: Cells) -> None:
    with serve(models=("cells", "others")) as client:
        response = post(client, bright_cells(), model="sfd")
        detail = problem_of(response, 404, "unknown-model")["detail"]
        assert detail == "no model 'sfd'; there is cells, others"
        assert post(client, bright_cells(), model="others").json()["model"]["name"] == "others"


def test_a_body_over_the_limit_is_refused_by_stated_and_by_real_length(
    serve: Any,
) -> None:
    with serve(max_bytes=1000) as client:
        assert post(client, b"x" * 1000).status_code == 415  # text, all of it read
        problem_of(post(client, b"x" * 1001), 413, "payload-too-large")
        chunks = (b"x" * 100 for _ in range(11))  # no Content-Length
        problem_of(client.post("/detect", content=chunks), 413, "payload-too-large")


def test_more_images_than_the_limit_are_refused(
    serve: Any, bright_cells: Cells, as_base64: Base64
) -> None:
    with serve(max_images=2) as client:
        data = bright_cells()
        files = [("image", ("x", data))] * 3
        problem_of(client.post("/detect", files=files), 413, "payload-too-large")
        images = [as_base64(data)] * 3
        problem_of(client.post("/detect", json={"images": images}), 413, "payload-too-large")
        assert len(client.post("/detect", files=files[:2]).json()["results"]) == 2


def test_an_image_over_the_pixel_limit_is_refused(serve: Any, bright_cells: Cells) -> None:
    with serve(max_pixels=1000) as client:
        problem_of(post(client, bright_cells()), 413, "too-many-pixels")


def failing(on: Callable[[Pixels], bool]) -> Callable[[Runtime], None]:
    """Makes inference raise for a batch that has such an image."""

    def change(runtime: Runtime) -> None:
        session = runtime.default.session

        def run(images: Sequence[Pixels]) -> list[Predictions]:
            if any(on(image) for image in images):
                raise RuntimeError("CUDA error 700: secret detail")
            return Session.run(session, images)

        object.__setattr__(session, "run", run)

    return change


def test_inference_that_raises_is_an_internal_error_for_that_image_alone(
    serve: Any, bright_cells: Cells
) -> None:
    with serve(failing(lambda image: bool(image[0, 0, 0] == 255))) as client:
        detail = problem_of(post(client, bright_cells(0)), 500, "internal-error")["detail"]
        assert "secret" not in detail
        files = [("image", ("x", bright_cells(i))) for i in (1, 0, 2)]
        one, poison, two = client.post("/detect", files=files).json()["results"]
        assert (cells_of(one), cells_of(two)) == ({1}, {2})
        assert poison["error"]["status"] == 500
        assert cells_of(post(client, bright_cells(3)).json()) == {3}


class Gate:
    """Holds inference until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.batches: list[int] = []
        self.started = threading.Event()

    def __call__(self, runtime: Runtime) -> None:
        session = runtime.default.session

        def run(images: Sequence[Pixels]) -> list[Predictions]:
            if runtime.ready:
                self.batches.append(len(images))
                self.started.set()
                assert self.opened.wait(10)
            return Session.run(session, images)

        object.__setattr__(session, "run", run)


def test_a_full_queue_is_overloaded_and_says_when_to_retry(serve: Any, bright_cells: Cells) -> None:
    gate = Gate()
    with serve(gate, queue_limit=1, max_images=1) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, client, bright_cells(1))
        assert gate.started.wait(10)
        second = pool.submit(post, client, bright_cells(2))
        deadline = time.monotonic() + 10
        while client.app.state.runtime.default.batcher.depth < 1:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        third = post(client, bright_cells(3))
        problem_of(third, 503, "overloaded")
        assert third.headers["retry-after"] == "1"
        gate.opened.set()
        assert cells_of(first.result().json()) == {1}
        assert cells_of(second.result().json()) == {2}


def test_a_deadline_that_passes_in_the_queue_is_a_timeout_and_is_never_inferred(
    serve: Any, bright_cells: Cells
) -> None:
    gate = Gate()
    with serve(gate, request_timeout_s=2) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, client, bright_cells(1))
        assert gate.started.wait(10)
        second = pool.submit(post, client, bright_cells(2))
        problem_of(first.result(), 504, "timeout")
        problem_of(second.result(), 504, "timeout")
        gate.opened.set()
    assert gate.batches == [1]


def test_a_draining_service_accepts_no_new_requests(serve: Any, bright_cells: Cells) -> None:
    with serve() as client:
        client.app.state.runtime.start_draining()
        response = post(client, bright_cells())
        problem_of(response, 503, "overloaded")
        assert response.headers["retry-after"] == "1"


def test_small_faces_are_dropped_if_the_request_asks_for_it(
    client: TestClient, bright_cells: Cells
) -> None:
    data = bright_cells(1, 2, size=640)  # cells of 160 pixels
    assert len(client.post("/detect?min_size=159.9", content=data).json()["faces"]) == 2
    assert client.post("/detect?min_size=160.1", content=data).json()["faces"] == []


def test_times_have_microseconds(start_server: Any, bright_cells: Cells) -> None:
    """uvloop's clock counts whole milliseconds; no time that we show may come from it."""
    with start_server() as server:
        times = [
            httpx.post(f"{server.url}/detect", content=bright_cells(1)).json()["timings_ms"]
            for _ in range(8)
        ]
    for stage in times[0]:
        assert any(one[stage] % 1 for one in times), stage
