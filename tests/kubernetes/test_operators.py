"""Every custom resource fits the published types of its operator.

PyPI and npm have no CRD files, but types made from the operators' sources: those of KEDA and of
the Prometheus operator for TypeScript, and those of KServe in its own Python package. No package
has those of KubeRay; test_ray.py reads that resource as Ray does.
"""

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import environments
from tests.environments import Missing
from tests.kubernetes.manifests import OVERLAYS, Manifest, of_kind, only

pytestmark = pytest.mark.slow

Overlay = Callable[[str], list[Manifest]]
Check = Callable[[list[Manifest]], str]

HERE = Path(__file__).parent
OPERATOR = "@kubernetes-models/prometheus-operator/monitoring.coreos.com"
TYPES = {
    "PodMonitor": f"{OPERATOR}/v1/PodMonitor",
    "PrometheusRule": f"{OPERATOR}/v1/PrometheusRule",
    "ScaledObject": "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject",
    "ScrapeConfig": f"{OPERATOR}/v1alpha1/ScrapeConfig",
}
KSERVE = "kserve==0.21.0"
FOR_KSERVE = ("kubernetes==37.0.2", "six==1.17.0")
"""What its models import."""


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory, missing: Missing) -> Check:
    """Checks manifests with TypeScript; gives its messages, which are none if all fit."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        missing("npm is not installed (Debian: apt-get install npm)")
    folder = tmp_path_factory.mktemp("types")
    shutil.copytree(HERE / "types", folder, dirs_exist_ok=True)
    environments.npm(npm, folder, missing)

    def check(manifests: list[Manifest]) -> str:
        shutil.rmtree(folder / "manifests", ignore_errors=True)
        (folder / "manifests").mkdir()
        for number, manifest in enumerate(manifests):
            kind = manifest["kind"]
            (folder / "manifests" / f"{number}.ts").write_text(
                f'import type {{I{kind}}} from "{TYPES[kind]}";\n'
                f"export const manifest: I{kind} = {json.dumps(manifest, indent=1)};\n"
            )
        command = [node, "node_modules/typescript/bin/tsc", "--project", "."]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        assert bool(done.returncode) == bool(done.stdout), done.stderr
        return done.stdout

    return check


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory, missing: Missing) -> Check:
    """Checks manifests with KServe's models; gives the mistakes, which are none if all fit."""
    python = environments.python(
        tmp_path_factory.mktemp("kserve"), missing, FOR_KSERVE, ("--no-deps", KSERVE)
    )

    def check(manifests: list[Manifest]) -> str:
        done = subprocess.run(
            [python, HERE / "kserve_models.py"],
            input=json.dumps(manifests),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not done.stderr, done.stderr
        return done.stdout.strip()

    return check


def changed(manifest: Manifest, change: Callable[[Any], None]) -> Manifest:
    """A copy of a manifest, after `change` did something to its spec."""
    made = copy.deepcopy(manifest)
    change(made["spec"])
    return made


def test_resources_of_keda_and_of_the_prometheus_operator_fit(
    overlay: Overlay, typescript: Check
) -> None:
    found = [manifest for name in OVERLAYS for manifest in overlay(name)]
    checked = [manifest for manifest in found if manifest["kind"] in TYPES]
    assert {manifest["kind"] for manifest in checked} == set(TYPES)
    assert typescript(checked) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec.update(minReplicas=2), "minReplicas"),
        (lambda spec: spec.update(pollingInterval="15"), "number"),
        (lambda spec: spec.pop("triggers"), "triggers"),
        (lambda spec: spec["fallback"].update(behavior="more"), "currentReplicas"),
    ],
    ids=["unknown field", "wrong type", "missing field", "unknown value"],
)
def test_a_wrong_scaled_object_does_not_fit(
    overlay: Overlay, typescript: Check, change: Callable[[Any], None], message: str
) -> None:
    wrong = changed(only(overlay("keda"), "ScaledObject"), change)
    assert message in typescript([wrong])


def test_resources_of_kserve_fit(overlay: Overlay, kserve: Check) -> None:
    manifests = overlay("kserve")
    checked = of_kind(manifests, "ServingRuntime") + of_kind(manifests, "InferenceService")
    assert len(checked) == 2
    assert kserve(checked) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda spec: spec["predictor"].update(replicas=2),
            "replicas: V1beta1PredictorSpec has no",
        ),
        (lambda spec: spec["predictor"].update(minReplicas="2"), "minReplicas: must be int"),
        (lambda spec: spec["predictor"]["model"].pop("modelFormat"), "must not be `None`"),
        (
            lambda spec: spec["predictor"]["securityContext"].update(runAsRoot=False),
            "runAsRoot: V1PodSecurityContext has no such field",
        ),
    ],
    ids=["unknown field", "wrong type", "missing field", "unknown field of Kubernetes"],
)
def test_a_wrong_inference_service_does_not_fit(
    overlay: Overlay, kserve: Check, change: Callable[[Any], None], message: str
) -> None:
    wrong = changed(only(overlay("kserve"), "InferenceService"), change)
    assert message in kserve([wrong])
