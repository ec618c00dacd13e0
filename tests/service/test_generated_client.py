"""A client generated from the OpenAPI document, with the service on a socket."""

import asyncio
import base64
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "generated_faces_client"
KEY = "a-good-long-key"
Cells = Callable[..., bytes]
Generated = Callable[[str], Any]

# Do not run ruff on the generated files. The generator does not support `image/*` and would warn,
# so send application/octet-stream instead, which the document has too.
CONFIG = """
post_hooks: []
content_type_overrides:
  "image/*": application/octet-stream
"""


@pytest.fixture(scope="module")
def url(store: Path, tmp_path_factory: pytest.TempPathFactory, start_real_server: Any) -> Any:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells,others", "SFD_THREADS": "1"}
    with start_real_server(tmp_path_factory.mktemp("server"), environment) as server:
        yield server.url


@pytest.fixture(scope="module")
def generated(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    """Imports a module of the client, which is generated without a warning."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.yml").write_text(CONFIG)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "openapi_python_client",
            "generate",
            f"--url={url}/openapi.json",
            f"--config={folder / 'config.yml'}",
            f"--output-path={folder / PACKAGE}",
            "--meta=none",
            "--fail-on-warning",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "warning" not in said.lower(), said
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield lambda name: import_module(f"{PACKAGE}.{name}")
    for name in [each for each in sys.modules if each.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def client(generated: Generated, url: str) -> Iterator[Any]:
    with generated("client").Client(base_url=url) as client:
        yield client


def file(generated: Generated, data: bytes) -> Any:
    return generated("types").File(payload=io.BytesIO(data), file_name="image.png")


def test_every_operation_is_a_module_with_a_short_name(generated: Generated) -> None:
    for tag, names in {
        "detection": ["detect"],
        "models": ["list_models", "describe_model"],
        "operation": ["livez", "readyz", "metrics"],
        "open_inference_protocol": [
            *("server_live", "server_ready", "server_metadata"),
            *("model_ready", "model_metadata", "model_infer"),
            *("model_version_ready", "model_version_metadata", "model_version_infer"),
        ],
    }.items():
        for name in names:
            assert callable(generated(f"api.{tag}.{name}").sync), name


def test_an_image_as_bytes_returns_typed_faces(
    generated: Generated, client: Any, bright_cells: Cells
) -> None:
    body = file(generated, bright_cells(5))
    answer = generated("api.detection.detect").sync(client=client, body=body, max_faces=1)
    assert isinstance(answer, generated("models").DetectAnswer)
    (face,) = answer.faces
    assert face.score == 1.0
    assert (face.box.x, face.box.y, face.box.width, face.box.height) == (16, 16, 16, 16)
    assert (answer.model.name, answer.image.width) == ("cells", 64)


@pytest.mark.parametrize("kind", ["multipart", "json"])
def test_several_images_return_typed_results_and_errors(
    generated: Generated, client: Any, bright_cells: Cells, kind: str
) -> None:
    images = [bright_cells(0, 5), b"\xff\xd8\xff", bright_cells()]
    models = generated("models")
    if kind == "multipart":
        body = models.ImageParts()
        for index, data in enumerate(images):
            body[f"image-{index}"] = file(generated, data)
    else:
        body = models.SeveralImages([base64.b64encode(data).decode() for data in images])
    answer = generated("api.detection.detect").sync(client=client, body=body)
    assert isinstance(answer, models.DetectManyAnswer)
    first, second, third = answer.results
    assert isinstance(second, models.ImageError)
    assert second.error.type_ == "invalid-image"
    assert [len(each.faces) for each in (first, third)] == [2, 0]


def test_a_bad_image_gives_a_typed_error(generated: Generated, client: Any) -> None:
    answer = generated("api.detection.detect").sync_detailed(
        client=client, body=file(generated, b"\xff\xd8\xff")
    )
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert isinstance(answer.parsed, generated("models").Problem)
    assert (answer.parsed.type_, answer.parsed.status) == ("invalid-image", 400)
    assert answer.parsed.request_id == answer.headers["X-Request-ID"]


def test_the_models_are_listed_and_described(generated: Generated, client: Any) -> None:
    answer = generated("api.models.list_models").sync(client=client)
    assert [each.name for each in answer.models] == ["cells", "others"]
    assert answer.models[0].input_.width == 64
    details = generated("api.models.describe_model").sync("others", client=client)
    assert details.title == "The same again"
    problem = generated("api.models.describe_model").sync("nobody", client=client)
    assert problem.type_ == "unknown-model"


def test_probes_and_metrics_are_read(generated: Generated, client: Any) -> None:
    assert generated("api.operation.readyz").sync(client=client).status == "ready"
    assert "sfd_in_flight 1.0" in generated("api.operation.metrics").sync(client=client)


def test_the_inference_protocol_works(
    generated: Generated, client: Any, bright_cells: Cells
) -> None:
    models = generated("models")
    text = base64.b64encode(bright_cells(2, 8)).decode()
    tensor = models.InputTensor(name="image", shape=[1], datatype="BYTES", data=[text])
    answer = generated("api.open_inference_protocol.model_infer").sync(
        "cells", client=client, body=models.InferenceRequest(inputs=[tensor])
    )
    outputs = {each.name: each for each in answer.outputs}
    assert outputs["detections"].shape == [2, 6]
    assert outputs["num_detections"].data == [2]


def test_the_asyncio_functions_work_too(
    generated: Generated, url: str, bright_cells: Cells
) -> None:
    async def ask() -> Any:
        body = generated("models").OneImage(base64.b64encode(bright_cells(1)).decode())
        async with generated("client").Client(base_url=url) as client:
            return await generated("api.detection.detect").asyncio(client=client, body=body)

    assert len(asyncio.run(ask()).faces) == 1


def test_the_clients_token_is_used_as_an_api_key(
    generated: Generated, start_server: Any, bright_cells: Cells
) -> None:
    detect = generated("api.detection.detect").sync
    clients = generated("client")
    with (
        start_server(API_KEYS=KEY) as server,
        clients.Client(base_url=server.url) as stranger,
        clients.AuthenticatedClient(base_url=server.url, token=KEY) as friend,
    ):
        refused = detect(client=stranger, body=file(generated, bright_cells(1)))
        assert refused.type_ == "unauthorized"
        answer = detect(client=friend, body=file(generated, bright_cells(1)))
        assert len(answer.faces) == 1
