"""Bodies to images and parameters: JSON, base64, and bodies without a content type."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from detection.errors import InvalidImage, RequestError, UnsupportedMediaType
from service import uploads
from service.errors import InvalidParameter, PayloadTooLarge
from service.uploads import Uploads, decode_base64, from_json
from tests.cells import cells_of
from tests.servers import problem_of

Cells = Callable[..., bytes]
Base64 = Callable[[bytes], str]


def read(content_type: str, *chunks: bytes, encoding: str = "") -> Uploads:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def run() -> Uploads:
        deadline = asyncio.get_running_loop().time() + 20
        return await uploads.read(
            content_type,
            encoding,
            stream(),
            max_images=2,
            deadline=deadline,
            read_json=from_json,
        )

    return asyncio.run(run())


def parse(**members: Any) -> Uploads:
    return from_json(json.dumps(members).encode(), max_images=2)


def test_any_other_type_is_the_bytes_of_one_image() -> None:
    assert read("image/heic", b"ab", b"c") == Uploads([b"abc"], several=False)
    assert read("multipart/mixed; boundary=x", b"--x") == Uploads([b"--x"], several=False)


def test_a_form_with_one_file_is_one_image_and_with_two_is_several() -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nabc\r\n'
    field = b'--x\r\nContent-Disposition: form-data; name="tiles"\r\n\r\nauto\r\n'
    kind = "Multipart/Form-Data; boundary=x"
    one = Uploads([b"abc"], several=False, fields=(("tiles", "auto"),))
    assert read(kind, part, field, b"--x--\r\n") == one
    assert read(kind, part, part, b"--x--\r\n") == Uploads([b"abc"] * 2, several=True)
    with pytest.raises(InvalidImage, match="the form has no image"):
        read(kind, field, b"--x--\r\n")


def test_a_compressed_body_and_an_empty_one_are_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Encoding"):
        read("image/png", b"abc", encoding="gzip")
    with pytest.raises(InvalidImage, match="no body"):
        read("image/png")


def test_one_image_and_a_list_of_one_differ() -> None:
    assert parse(image="YWJj") == Uploads([b"abc"], several=False)
    assert parse(images=["YWJj"]) == Uploads([b"abc"], several=True)


def test_only_the_bad_image_of_a_list_is_a_problem() -> None:
    good, bad = parse(images=["YWJj", "&"]).files
    assert good == b"abc"
    assert isinstance(bad, InvalidImage)
    with pytest.raises(InvalidImage):
        parse(image="&")


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (0.3, [("p", "0.3")]),
        (7, [("p", "7")]),
        (True, [("p", "true")]),
        (False, [("p", "false")]),
        ("auto", [("p", "auto")]),
        ("", [("p", "")]),
        (None, []),
        (float("nan"), [("p", "nan")]),
        (10**30, [("p", "1" + "0" * 30)]),
    ],
)
def test_a_json_member_becomes_the_text_of_a_query(
    value: object, fields: list[tuple[str, str]]
) -> None:
    assert list(parse(image="YWJj", p=value).fields) == fields


@pytest.mark.parametrize("other", [{"a": 1}, ["a"], "x" * 2000, 3, None])
def test_unknown_members_may_be_ignored(other: object) -> None:
    body = json.dumps({"image": "YWJj", "other": other, "p": 0.5}).encode()
    found = from_json(body, max_images=1, known=("p",))
    assert found == Uploads([b"abc"], several=False, fields=(("p", "0.5"),))


def test_a_known_member_is_still_a_single_value() -> None:
    with pytest.raises(InvalidParameter, match="p: must be a single value"):
        from_json(b'{"image": "YWJj", "p": [1]}', max_images=1, known=("p",))


def test_the_limit_of_one_image_is_in_the_singular() -> None:
    with pytest.raises(PayloadTooLarge, match=r"more than 1 image$"):
        from_json(b'{"images": ["YWJj", "YWJj"]}', max_images=1)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"image": "YWJj", "p": [1]}', InvalidParameter),
        (b'{"image": "YWJj", "p": {"a": 1}}', InvalidParameter),
        (b'{"image": "YWJj", "p": 1' + b"0" * 5000 + b"}", InvalidParameter),
        (b'{"image": "YWJj", "p": "\\ud800"}', InvalidParameter),
        (b'{"image": "YWJj", "images": ["YWJj"]}', InvalidParameter),
        (b'{"image": null}', InvalidParameter),
        (b'{"images": []}', InvalidParameter),
        (b'{"images": ["YWJj", 3]}', InvalidParameter),
        (b'{"images": ["YQ==", "YQ==", "YQ=="]}', PayloadTooLarge),
        (b'{"images": [' + b"[" * 17, InvalidParameter),
        (b'{"images": [' + b"1," * 200, PayloadTooLarge),
        (b"\xef\xbb\xbf{}", InvalidParameter),
    ],
)
def test_json_that_is_not_images_and_parameters_is_refused(
    body: bytes, error: type[RequestError]
) -> None:
    with pytest.raises(error) as caught:
        from_json(body, max_images=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ('"p": 0.5, "p": 0.3', "p: is given twice, as '0.5' and '0.3'; give it once"),
        ('"p": 1, "\\u0070": true', "p: is given twice, as '1' and 'true'; give it once"),
        ('"p": null, "p": "a"', "p: is given twice, as 'null' and 'a'; give it once"),
        ('"image": "YQ=="', "image: is given twice, as 'YWJj' and 'YQ=='; give it once"),
    ],
)
def test_a_json_member_may_not_contradict_itself(members: str, problem: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        from_json(f'{{"image": "YWJj", {members}}}'.encode(), max_images=2)
    assert str(caught.value) == problem


@pytest.mark.parametrize("members", ['"p": 1, "p": 1.0', '"p": "a:b"', '"image": "YWJj"'])
def test_a_json_member_may_be_repeated(members: str) -> None:
    assert from_json(f'{{"image": "YWJj", {members}}}'.encode(), max_images=2).files == [b"abc"]


@pytest.mark.parametrize(
    "text", ["YWJj", " YW\r\nJj\t", "data:image/png;base64,YWJj", "DATA:;base64,YWJj"]
)
def test_base64_may_have_blanks_and_be_a_url(text: str) -> None:
    assert decode_base64(text) == b"abc"


@pytest.mark.parametrize("text", ["YWJ", "YW=Jj", "YWJj!", "YWJj\u00e9"])
def test_invalid_base64_is_a_problem(text: str) -> None:
    assert isinstance(decode_base64(text), InvalidImage)


def test_base64_in_the_url_alphabet_is_an_error() -> None:
    text = base64.urlsafe_b64encode(b"\xfb\xff\xfe").decode()
    assert isinstance(decode_base64(text), InvalidImage)


def test_json_can_carry_one_image(
    client: TestClient, bright_cells: Cells, as_base64: Base64
) -> None:
    data = as_base64(bright_cells(7))
    assert cells_of(client.post("/detect", json={"image": data}).json()) == {7}
    url = f"data:image/png;base64,{data}"
    assert cells_of(client.post("/detect", json={"image": url}).json()) == {7}


def test_json_can_carry_several_images_and_a_list_is_answered_by_a_list(
    client: TestClient, bright_cells: Cells, as_base64: Base64
) -> None:
    images = [as_base64(bright_cells(7)), "&&&"]
    good, bad = client.post("/detect", json={"images": images}).json()["results"]
    assert cells_of(good) == {7}
    assert bad["error"]["detail"] == "the text is not base64"
    (only,) = client.post("/detect", json={"images": images[:1]}).json()["results"]
    assert cells_of(only) == {7}


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 422, "invalid-parameter"),
        (b"[]", 422, "invalid-parameter"),
        (b"{}", 422, "invalid-parameter"),
        (b'{"image": 3}', 422, "invalid-parameter"),
        (b'{"image": "AAAA", "images": []}', 422, "invalid-parameter"),
        (b'{"images": []}', 422, "invalid-parameter"),
        (b'{"image": "AAAA", "size": 3}', 422, "invalid-parameter"),
        (b'{"image": "***"}', 400, "invalid-image"),
        (b'{"image": ""}', 400, "invalid-image"),
        (b'{"image": "AAAA"}', 400, "invalid-image"),
        (b"[" * 100_000, 422, "invalid-parameter"),
        (b'{"image": "\xff"}', 422, "invalid-parameter"),
    ],
)
def test_wrong_json_is_explained(client: TestClient, body: bytes, status: int, kind: str) -> None:
    headers = {"Content-Type": "application/json"}
    problem_of(client.post("/detect", content=body, headers=headers), status, kind)


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    response = client.post("/detect", content=b"x", headers={"Content-Encoding": "gzip"})
    problem_of(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("encoding", ["identity", "Identity", " identity "])
def test_a_body_that_says_it_is_not_compressed_is_read(
    client: TestClient, bright_cells: Cells, encoding: str
) -> None:
    headers = {"Content-Encoding": encoding}
    assert client.post("/detect", content=bright_cells(1), headers=headers).status_code == 200


@pytest.mark.parametrize(
    "label", [None, "application/x-www-form-urlencoded", "text/plain", "text/json"]
)
def test_json_is_recognised_without_its_content_type(
    client: TestClient, bright_cells: Cells, as_base64: Base64, label: str | None
) -> None:
    body = " \n" + json.dumps({"image": as_base64(bright_cells(3)), "min_score": 0.3})
    headers = {} if label is None else {"Content-Type": label}
    answer = client.post("/detect", content=body, headers=headers)
    assert answer.status_code == 200
    assert len(answer.json()["faces"]) == 1


@pytest.mark.parametrize("content_type", ["application/json", None])
def test_a_byte_order_mark_before_json_is_ignored(
    client: TestClient, bright_cells: Cells, as_base64: Base64, content_type: str | None
) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"image": as_base64(bright_cells(3))}).encode()
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post("/detect", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["faces"]) == 1
