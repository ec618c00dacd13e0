from typing import Any

import pytest
from starlette.testclient import TestClient

from service import errors


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    body: dict[str, Any] = client.get("/openapi.json").json()
    return body


def test_every_way_to_send_images_is_described(document: dict[str, Any]) -> None:
    content = document["paths"]["/detect"]["post"]["requestBody"]["content"]
    assert set(content) == {
        "image/*",
        "application/octet-stream",
        "multipart/form-data",
        "application/json",
    }


def test_every_problem_is_described_with_an_example(document: dict[str, Any]) -> None:
    responses = document["paths"]["/detect"]["post"]["responses"]
    described = {
        (int(status), kind)
        for status, response in responses.items()
        for kind in response["content"].get("application/problem+json", {}).get("examples", {})
    }
    elsewhere = {errors.NotFound, errors.MethodNotAllowed, errors.InvalidRequest}
    expected = {(k.status, k.slug) for k in errors.DOCUMENTED if k not in elsewhere}
    assert described == expected


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/detect"]["post"]["parameters"]
    assert {p["name"] for p in parameters} >= {"min_score", "nms_iou", "max_faces", "model"}
    assert all(p.get("description") or p["schema"].get("description") for p in parameters)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for value in node for r in references(value)] if isinstance(node, list) else []

    for reference in references(document):
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_operation_has_a_summary_and_a_success(document: dict[str, Any]) -> None:
    assert {"/detect", "/livez", "/readyz", "/metrics", "/models", "/models/{name}"} <= set(
        document["paths"]
    )
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert "200" in operation["responses"]


def test_the_examples_are_what_the_service_answers(
    client: TestClient, document: dict[str, Any]
) -> None:
    content = document["paths"]["/detect"]["post"]["responses"]["200"]["content"]
    example = content["application/json"]["example"]
    sent = document["paths"]["/detect"]["post"]["requestBody"]["content"]["application/json"]
    answer = client.post("/detect", json=sent["examples"]["one"]["value"])
    assert answer.status_code == 200
    assert set(answer.json()) == set(example)
