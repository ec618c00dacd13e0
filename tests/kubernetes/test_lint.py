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


Lint = Callable[[list[Manifest]], Report]

CHECKOV = "checkov==3.3.30"
ACCEPTED = {
    "CKV_K8S_15",  # imagePullPolicy Always: a tag is a version and never moves
    "CKV_K8S_35",  # secrets as files: the service reads its keys from the environment
    "CKV_K8S_43",  # a digest: only whoever pushes the image knows it (docs/deployment.md)
}


@pytest.fixture(scope="module")
def lint(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Lint:
    """Lints manifests."""
    python = environments.python(tmp_path_factory.mktemp("checkov"), missing, (CHECKOV,))

    def run(manifests: list[Manifest]) -> Report:
        file = tmp_path_factory.mktemp("rendered") / "manifests.yaml"
        file.write_text(yaml.safe_dump_all(manifests), "utf-8")
        program = Path(python).with_name("checkov")
        options = ["--framework", "kubernetes", "--skip-download", "--quiet", "--output", "json"]
        done = subprocess.run(
            [python, program, "--file", file, *options], capture_output=True, text=True, timeout=300
        )
        report = json.loads(done.stdout)
        assert report["summary"]["parsing_errors"] == 0
        failed = {check["check_id"] for check in report["results"]["failed_checks"]}
        return Report(report["summary"]["passed"], failed)

    return run


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


@pytest.mark.parametrize("name", OVERLAYS)
def test_linter_finds_nothing(overlay: Overlay, lint: Lint, name: str) -> None:
    report = lint(with_pods(overlay(name)))
    assert report.failed == ACCEPTED
    assert report.passed > 80


def test_linter_finds_a_container_that_may_write_to_its_image(overlay: Overlay, lint: Lint) -> None:
    manifests = json.loads(json.dumps(with_pods(overlay("cpu"))))
    context = manifests[-1]["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    context["readOnlyRootFilesystem"] = False
    assert "CKV_K8S_22" in lint(manifests).failed
