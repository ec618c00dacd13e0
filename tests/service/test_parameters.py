"""Parameters in the query, in form fields and in JSON mean the same."""

from collections.abc import Callable
from typing import Any

import pytest
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
def test_two_places_with_the_same_value_are_accepted(ask: Callable[..., Any], way: str) -> None:
    assert ask(way, {"min_score": "0.50"}, min_score=0.5).status_code == 200


def test_the_query_may_not_contradict_itself(client: TestClient, bright_cells: Cells) -> None:
    answer = client.post("/detect?max_faces=1&max_faces=2", content=bright_cells(1))
    assert answer.status_code == 422
    assert "given twice" in answer.json()["detail"]


def test_json_may_not_contradict_itself(
    client: TestClient, bright_cells: Cells, as_base64: Base64
) -> None:
    body = f'{{"image": "{as_base64(bright_cells(1))}", "max_faces": 1, "max_faces": 2}}'
    answer = client.post("/detect", content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "max_faces: is given twice, as '1' and '2'; give it once"


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


@pytest.mark.parametrize("way", WAYS)
def test_a_parameter_without_a_name_is_reported(ask: Callable[..., Any], way: str) -> None:
    answer = ask(way, **{"": "1"})
    assert (answer.status_code, answer.json()["detail"]) == (
        422, "a parameter without a name: unknown parameter"
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_values_of_render_are_listed_in_one_sentence(ask: Callable[..., Any], way: str) -> None:
    assert ask(way, render="mosaic").json()["detail"] == (
        "render: Input should be 'boxes', 'blur', 'pixelate' or 'crops'"
    )


@pytest.mark.parametrize("style", ["boxes", "blur", "pixelate"])
def test_crops_in_the_json_together_with_a_picture_are_refused(
    ask: Callable[..., Any], style: str
) -> None:
    answer = ask("query", render=style, crops="true")
    assert answer.status_code == 422
    assert f"render={style} answers with a picture" in answer.json()["detail"]


def test_a_long_unknown_name_is_shortened_in_the_error(ask: Callable[..., Any]) -> None:
    answer = ask("json", **{"x" * 100_000: 1})
    assert answer.status_code == 422
    assert len(answer.text) < 500


@pytest.mark.parametrize("way", WAYS)
def test_the_model_can_be_named_in_each_place(ask: Callable[..., Any], way: str) -> None:
    assert ask(way, model="cells").json()["model"]["name"] == "cells"
    assert ask(way, model="nobody").status_code == 404


@pytest.mark.parametrize("way", WAYS)
def test_crops_come_with_the_json(ask: Callable[..., Any], way: str) -> None:
    faces = ask(way, crops="true", crop_margin="0", crop_size="64").json()["faces"]
    assert [set(face) for face in faces] == [{"box", "score", "crop"}] * 3
