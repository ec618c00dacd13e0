"""Names that a client invents are cut before they are echoed in an answer or in the log."""

import io
import json
from typing import Any

import httpx
import pytest
from PIL import Image

LONG = "A" * 300_000


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "PNG")
    return out.getvalue()


def form(name: str, value: bytes) -> dict[str, Any]:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
    file = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + picture()
    return {
        "content": head + value + b"\r\n" + file + b"\r\n--b--\r\n",
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    }


def as_json(**members: object) -> dict[str, Any]:
    return {"content": json.dumps(members), "headers": {"Content-Type": "application/json"}}


TENSOR = {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["AA=="]}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a JSON member": ("/detect", as_json(image="AA==", **{LONG: 1})),
    "a JSON member without an image": ("/detect", as_json(**{LONG: 1})),
    "a JSON member with a list": ("/detect", as_json(image="AA==", **{LONG: [1]})),
    "a JSON value": ("/detect", as_json(image="AA==", min_score=LONG)),
    "a model in JSON": ("/detect", as_json(image="AA==", model=LONG)),
    "a rendering in JSON": ("/detect", as_json(image="AA==", render=LONG)),
    "a URL in JSON": ("/detect", as_json(url=f"http://{LONG}/")),
    "a form field": ("/detect", form(LONG, b"1")),
    "a form field with a long value": ("/detect", form(LONG, b"1" * 5000)),
    "a form field that is not UTF-8": ("/detect", form(LONG, b"\xff")),
    "a form's value": ("/detect", form("min_score", b"1" * 1024)),
    "a query parameter": (f"/detect?{LONG[:30_000]}=1", {"content": picture()}),
    "a query's value": (f"/detect?min_score={LONG[:30_000]}", {"content": picture()}),
    "a model in the query": (f"/detect?model={LONG[:30_000]}", {"content": picture()}),
    "a path": (f"/{LONG[:30_000]}", {"content": b""}),
    "a path of models": (f"/models/{LONG[:30_000]}", {"content": b""}),
    "an inference parameter": (
        "/v2/models/cells/infer",
        as_json(inputs=[TENSOR], parameters={LONG: 1}),
    ),
    "an inference input": ("/v2/models/cells/infer", as_json(inputs=[TENSOR | {"name": LONG}])),
    "an inference type": ("/v2/models/cells/infer", as_json(inputs=[TENSOR | {"datatype": LONG}])),
    "an inference output": (
        "/v2/models/cells/infer",
        as_json(inputs=[TENSOR], outputs=[{"name": LONG}]),
    ),
    "an inference model": (f"/v2/models/{LONG[:30_000]}/infer", as_json(inputs=[TENSOR])),
    "a content type": ("/detect", {"content": b"x", "headers": {"Content-Type": LONG[:30_000]}}),
    "an encoding": ("/detect", {"content": b"x", "headers": {"Content-Encoding": LONG[:30_000]}}),
    "an accepted type": (
        "/detect?render=boxes",
        {"content": picture(), "headers": {"Accept": f"image/{LONG[:30_000]}"}},
    ),
    "a deadline": ("/detect", {"content": b"x", "headers": {"X-Request-Timeout": LONG[:30_000]}}),
    "a request id": ("/detect", {"content": b"x", "headers": {"X-Request-ID": LONG[:30_000]}}),
}


@pytest.mark.parametrize("name", list(REQUESTS))
def test_a_long_name_is_cut(hardened: Any, name: str) -> None:
    path, request = REQUESTS[name]
    before = hardened.log.stat().st_size
    answer = httpx.post(f"{hardened.url}{path}", timeout=30, **request)
    assert 400 <= answer.status_code < 500
    assert len(answer.content) < 2000
    assert sum(len(each) for pair in answer.headers.multi_items() for each in pair) < 4000
    hardened.wait_until_idle()
    assert hardened.log.stat().st_size - before < 5000
