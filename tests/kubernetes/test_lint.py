"""Checkov, a linter for manifests, finds nothing but what is listed here with a reason."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest
import yaml

from tests import environments
from tests.kubernetes.manifests import OVERLAYS, Manifest, pods

pytestmark = pytest.mark.slow

Overlay = Callable[[str], list[Manifest]]


class Report(NamedTuple):
    """How many checks passed, and the ids of those that failed."""

    passed: int
    failed: set[str]


SCRIPT = Path(__file__).with_name("checkov_runs.py")
CHECKOV = "checkov==3.3.30"
WRITABLE = "cpu-writable"
ACCEPTED = {
    "CKV_K8S_15",  # imagePullPolicy Always: a tag is a version and never moves
    "CKV_K8S_35",  # secrets as files: the service reads its keys from the environment
    "CKV_K8S_43",  # a digest: only whoever pushes the image knows it (docs/deployment.md)
}


def with_pods(manifests: list[Manifest]) -> list[Manifest]:
    """Also the pods that operators make, as Deployments, which the linter knows."""
    made = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"pod-{number}", "namespace": "sfd"},
            "spec": {
                "selector": {"matchLabels": pod.labels},
                "template": {"metadata": {"labels": pod.labels}, "spec": pod.spec},
            },
        }
        for number, pod in enumerate(pods(manifests))
    ]
    return manifests + made


def with_a_writable_image(manifests: list[Manifest]) -> list[Manifest]:
    """A copy in which the last container may write to its image."""
    copied: list[Manifest] = json.loads(json.dumps(manifests))
    context = copied[-1]["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    context["readOnlyRootFilesystem"] = False
    return copied


def read(file: Path) -> Report:
    """The report in a file that Checkov wrote."""
    report = json.loads(file.read_text("utf-8"))
    assert report["summary"]["parsing_errors"] == 0
    failed = {check["check_id"] for check in report["results"]["failed_checks"]}
    return Report(report["summary"]["passed"], failed)


@pytest.fixture(scope="module")
def reports(
    overlay: Overlay,
    tmp_path_factory: pytest.TempPathFactory,
    missing: Callable[[str], NoReturn],
) -> dict[str, Report]:
    """What Checkov says of each overlay, and of `cpu` with an image that may be written to."""
    python = environments.python(tmp_path_factory.mktemp("checkov"), missing, (CHECKOV,))
    rendered = {name: with_pods(overlay(name)) for name in OVERLAYS}
    rendered[WRITABLE] = with_a_writable_image(rendered["cpu"])
    folder = tmp_path_factory.mktemp("rendered")
    files = {name: folder / f"{name}.yaml" for name in rendered}
    for name, file in files.items():
        file.write_text(yaml.safe_dump_all(rendered[name]), "utf-8")
    done = subprocess.run(
        [python, SCRIPT, *files.values()], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return {name: read(Path(f"{file}.json")) for name, file in files.items()}


@pytest.mark.parametrize("name", OVERLAYS)
def test_linter_finds_nothing(reports: dict[str, Report], name: str) -> None:
    assert reports[name].failed == ACCEPTED
    assert reports[name].passed > 80


def test_linter_finds_a_container_that_may_write_to_its_image(reports: dict[str, Report]) -> None:
    assert "CKV_K8S_22" in reports[WRITABLE].failed
