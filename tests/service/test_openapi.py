from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from starlette.testclient import TestClient

from service import errors


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    body: dict[str, Any] = client.get("/openapi.json").json()
    return body


@pytest.fixture
def whole_document(serve: Any) -> dict[str, Any]:
    """With other products' APIs too."""
    with serve(compat="deepstack,compreface") as client:
        body: dict[str, Any] = client.get("/openapi.json").json()
        assert {"/v1/vision/face", "/api/v1/detection/detect"} <= set(body["paths"])
        return body


def test_every_way_to_send_images_is_described(document: dict[str, Any]) -> None:
    content = document["paths"]["/detect"]["post"]["requestBody"]["content"]
    assert set(content) == {
        "image/*",
        "application/octet-stream",
        "multipart/form-data",
        "application/json",
    }


def test_every_error_is_described_with_an_example(document: dict[str, Any]) -> None:
    responses = document["paths"]["/detect"]["post"]["responses"]
    described = {
        (int(status), kind)
        for status, response in responses.items()
        for kind in response["content"].get("application/problem+json", {}).get("examples", {})
    }
    elsewhere = {
        errors.NotFound,
        errors.MethodNotAllowed,
        errors.InvalidRequest,
        errors.PreflightRefused,
        errors.NotSupported,
    }
    expected = {(k.status, k.slug) for k in errors.DOCUMENTED if k not in elsewhere}
    assert described == expected


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/detect"]["post"]["parameters"]
    assert {p["name"] for p in parameters} >= {"min_score", "nms_iou", "max_faces", "model"}
    assert all(p.get("description") or p["schema"].get("description") for p in parameters)


def test_every_reference_has_a_target(whole_document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for value in node for r in references(value)] if isinstance(node, list) else []

    for reference in references(whole_document):
        target: Any = whole_document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_operation_has_a_summary_and_a_success_status(document: dict[str, Any]) -> None:
    assert {"/detect", "/livez", "/readyz", "/metrics", "/models", "/models/{name}"} <= set(
        document["paths"]
    )
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert "200" in operation["responses"]


def test_every_operation_has_a_short_id(document: dict[str, Any]) -> None:
    ids = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert ids == {
        *("detect", "list_models", "describe_model", "livez", "readyz", "metrics"),
        *("server_live", "server_ready", "server_metadata"),
        *("model_ready", "model_metadata", "model_infer"),
        *("model_version_ready", "model_version_metadata", "model_version_infer"),
    }


def contents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body that is not binary, of requests and responses, with its name."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            bodies = dict(operation["responses"])
            if "requestBody" in operation:
                bodies["request"] = operation["requestBody"]
            for which, body in bodies.items():
                assert body["content"], (path, which)
                for kind, content in body["content"].items():
                    if "json" in kind or kind.startswith("text/"):
                        yield f"{method} {path} {which} {kind}", content


def examples(content: dict[str, Any]) -> list[Any]:
    """The examples of a body, given as one or by name."""
    if "example" in content:
        return [content["example"]]
    return [each["value"] for each in content.get("examples", {}).values()]


def test_every_body_of_json_or_text_has_examples_of_its_schema(
    whole_document: dict[str, Any],
) -> None:
    document = whole_document
    checked = 0
    for name, content in contents(document):
        assert examples(content), f"{name} has no example"
        # Where the references of the schema lead.
        schema = {**content["schema"], "components": document["components"]}
        validator = jsonschema_rs.validator_for(schema)
        for example in examples(content):
            assert [str(each) for each in validator.iter_errors(example)] == [], name
            checked += 1
    assert checked > 50


@pytest.mark.parametrize("which", ["one", "several"])
def test_the_examples_match_the_answers_of_the_service(
    client: TestClient, document: dict[str, Any], which: str
) -> None:
    content = document["paths"]["/detect"]["post"]["responses"]["200"]["content"]
    example = content["application/json"]["examples"][which]["value"]
    sent = document["paths"]["/detect"]["post"]["requestBody"]["content"]["application/json"]
    answer = client.post("/detect", json=sent["examples"][which]["value"])
    assert answer.status_code == 200
    assert set(answer.json()) == set(example)
    if which == "several":
        assert {*answer.json()["results"][0]} == {*example["results"][0]}


@pytest.mark.parametrize(
    "path",
    ["/livez", "/readyz", "/models", "/models/{name}", "/v2", "/v2/health/live",
     "/v2/health/ready", "/v2/models/{name}", "/v2/models/{name}/ready"],
)  # fmt: skip
def test_the_examples_have_the_members_of_the_answers(
    client: TestClient, document: dict[str, Any], path: str
) -> None:
    content = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    answer = client.get(path.format(name="cells")).json()
    assert set(content["example"]) == set(answer)
