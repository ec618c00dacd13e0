from typing import Any

from starlette.testclient import TestClient


def test_the_models_are_listed_with_the_default_first(serve: Any) -> None:
    with serve(models=("cells", "others"), default_model="others") as client:
        models = client.get("/models").json()["models"]
    assert [(each["name"], each["default"]) for each in models] == [
        ("others", True),
        ("cells", False),
    ]
    assert models[0]["provider"] == "cpu"
    assert models[0]["provider_fallback"] is None
    assert models[0]["precision"] == "float32"
    assert models[0]["input"] == {"width": 64, "height": 64}
    assert models[0]["thresholds"] == {
        "min_score": 0.5,
        "nms_iou": 0.3,
        "top_k": 5000,
        "keep_top_k": 750,
    }


def test_a_fallback_to_the_cpu_is_reported(serve: Any) -> None:
    with serve(provider="auto") as client:
        (model,) = client.get("/models").json()["models"]
    assert model["provider"] == "cpu"
    assert "CUDAExecutionProvider" in model["provider_fallback"]


def test_a_model_is_described_with_its_hashes(client: TestClient) -> None:
    body = client.get("/models/cells").json()
    assert body["title"] == "Bright cells"
    assert set(body["sources"]) == {"deploy", "weights"}
    assert len(body["onnx"]) == 64
    assert body["verification"] == "unverified"
