"""The contents of the CPU image, its restrictions, and how it starts and stops."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

Run = Callable[..., str]
HARDENED = [
    "--read-only", "--tmpfs", "/tmp:size=64m", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges",
]  # fmt: skip


@pytest.fixture(scope="module")
def described(image: str, run: Run) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(run("docker", "image", "inspect", image))
    return found[0]


@contextmanager
def _running(image: str, run: Run, *options: str) -> Iterator[str]:
    """A detector under the production restrictions, once it is ready."""
    container = run("docker", "run", "--detach", *HARDENED, *options, image)
    try:
        until = time.monotonic() + 60
        while run("docker", "inspect", "-f", "{{.State.Health.Status}}", container) != "healthy":
            assert time.monotonic() < until, run("docker", "logs", container)
            time.sleep(0.5)
        yield container
    finally:
        run("docker", "rm", "--force", container, check=False)


def test_image_is_at_most_450_megabytes(described: dict[str, Any]) -> None:
    assert described["Size"] <= 450_000_000


def test_image_runs_as_a_numeric_user_who_is_not_root(described: dict[str, Any]) -> None:
    user, _, group = described["Config"]["User"].partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_image_stops_on_sigterm_and_has_a_health_check(described: dict[str, Any]) -> None:
    assert described["Config"]["StopSignal"] == "SIGTERM"
    assert described["Config"]["Healthcheck"]["Test"][0] == "CMD"
    assert described["Config"]["Entrypoint"] == ["sfd"]


def test_image_says_what_it_is(described: dict[str, Any]) -> None:
    labels = described["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "sfd"
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def test_image_holds_no_converter_and_no_installer(image: str, run: Run) -> None:
    code = (
        "import importlib.util as u;"
        "print([n for n in ('onnx', 'cv2', 'torch', 'pip', 'hatchling') if u.find_spec(n)])"
    )
    assert run("docker", "run", "--rm", "--entrypoint", "python", image, "-c", code) == "[]"


def test_image_can_serve_grpc(image: str, run: Run) -> None:
    code = "import service.rpc.server; print('imported')"
    command = ["docker", "run", "--rm", "--entrypoint", "python", image, "-c", code]
    assert run(*command) == "imported"


def test_image_has_no_pip_outside_its_environment_either(image: str, run: Run) -> None:
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint"]
    done = subprocess.run([*command, "pip", image, "--version"], capture_output=True, text=True)
    # 127: Docker found no such program.
    assert done.returncode == 127, done.stdout + done.stderr
    code = "import importlib.util as u; print(u.find_spec('pip'), u.find_spec('ensurepip'))"
    assert run(*command, "/usr/local/bin/python3", image, "-c", code) == "None None"
    left = run("docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "find",
               image, "/usr", "/opt", "-name", "pip", "-o", "-name", "pip[0-9-]*",
               "-o", "-name", "ensurepip", "-o", "-name", "*.whl")  # fmt: skip
    assert left == ""


def test_image_carries_no_package_index_and_no_secret(image: str, run: Run) -> None:
    history = run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert "://" not in history


def test_dry_run_detects_on_the_built_in_image_and_exits(image: str, run: Run) -> None:
    report = run("docker", "run", "--rm", "--network", "none", *HARDENED, image,
                 "serve", "--dry-run")  # fmt: skip
    assert "sfd-640-mobilenetv2-mod2" in report


def test_models_in_the_image_match_their_hashes(image: str, run: Run) -> None:
    run("docker", "run", "--rm", "--network", "none", *HARDENED, image, "models", "verify")


def test_any_other_numeric_user_may_run_it(image: str, run: Run) -> None:
    run("docker", "run", "--rm", "--user", "65000:65000", *HARDENED, image, "serve", "--dry-run")


def test_wrong_setting_stops_the_start_with_its_name(image: str) -> None:
    command = ["docker", "run", "--rm", "-e", "SFD_MAX_BATCH=many", image]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "SFD_MAX_BATCH" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_ends_it_with_exit_code_0(image: str, run: Run) -> None:
    with _running(image, run) as container:
        run("docker", "stop", container)
        assert run("docker", "inspect", "-f", "{{.State.ExitCode}}", container) == "0"


def test_threads_follow_the_containers_cpu_quota(image: str, run: Run) -> None:
    code = "from service.settings import load; print(load().threads)"
    printed = run("docker", "run", "--rm", "--cpus", "1", "--entrypoint", "python", image,
                  "-c", code)  # fmt: skip
    assert printed == "1"
