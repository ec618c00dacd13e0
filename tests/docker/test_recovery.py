"""The stack comes back by itself after a process dies."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from tests.docker.conftest import Stack

ROOT = Path(__file__).resolve().parents[2]
MODEL = "sfd-640-mobilenetv2-mod2"

Run = Callable[..., str]
Eventually = Callable[[Callable[[], object], float], object]


def test_a_detector_killed_by_the_kernel_restarts_by_itself(
    stack: "Stack", photo: Path, eventually: Eventually
) -> None:
    before = stack.inspect("detector")
    # Not `docker kill`: the engine would take that as the operator's wish and not restart it.
    os.kill(before["State"]["Pid"], signal.SIGKILL)

    def back() -> bool:
        now = stack.inspect("detector")
        restarted: bool = now["RestartCount"] == before["RestartCount"] + 1
        return restarted and now["State"]["Health"]["Status"] == "healthy"

    eventually(back, 90)
    answer = httpx.post(f"{stack.detector}/detect", content=photo.read_bytes(), timeout=60)
    assert len(answer.json()["faces"]) == 1


def test_sighup_does_not_stop_a_container(stack: "Stack", photo: Path) -> None:
    """It reloads Prometheus' rules. Without a service's name it goes to the detector, too."""
    before = stack.inspect("detector")
    os.kill(before["State"]["Pid"], signal.SIGHUP)
    answer = httpx.post(f"{stack.detector}/detect", content=photo.read_bytes(), timeout=60)
    assert len(answer.json()["faces"]) == 1
    assert stack.inspect("detector")["State"]["Pid"] == before["State"]["Pid"]


def test_a_detector_with_a_corrupt_model_serves_once_the_file_is_restored(
    image: str, run: Run, tmp_path: Path, eventually: Eventually
) -> None:
    folder = tmp_path / MODEL
    shutil.copytree(ROOT / "model_store" / MODEL, folder)
    tmp_path.chmod(0o755)
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    container = run(
        "docker", "run", "--detach", "--restart", "unless-stopped",
        "--volume", f"{tmp_path}:/models:ro", image,
    )  # fmt: skip

    def told(template: str) -> str:
        return run("docker", "inspect", "--format", template, container)

    try:
        eventually(lambda: int(told("{{.RestartCount}}")) >= 2, 60)
        log = run("sh", "-c", f"docker logs {container} 2>&1")
        assert "sha256" in log
        assert "Traceback" not in log
        (folder / "model.onnx").write_bytes(whole)
        eventually(lambda: told("{{.State.Health.Status}}") == "healthy", 90)
    finally:
        run("docker", "rm", "--force", container, check=False)
