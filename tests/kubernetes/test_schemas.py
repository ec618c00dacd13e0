"""Every manifest is valid by the published schemas of Kubernetes."""

from collections.abc import Callable

import kubernetes_validate
import pytest

from tests.kubernetes.manifests import KUBERNETES, OVERLAYS, Manifest, Pod, pods

Overlay = Callable[[str], list[Manifest]]

CUSTOM = {
    "InferenceService",
    "PodMonitor",
    "PrometheusRule",
    "RayService",
    "ScaledObject",
    "ScrapeConfig",
    "ServingRuntime",
}
"""Kinds of operators; test_operators.py checks them, and this module the pods inside them."""

OLDEST = "1.30"
"""The first version that knows `preStop.sleep` by default. docs/kubernetes.md names it."""
VERSIONS = [OLDEST, kubernetes_validate.latest_version()]


def as_pod(pod: Pod) -> Manifest:
    """The manifest of one such pod."""
    metadata = {"name": "pod", "labels": pod.labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod.spec}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_manifest_fits_its_schema(overlay: Overlay, name: str, version: str) -> None:
    core = [manifest for manifest in overlay(name) if manifest["kind"] not in CUSTOM]
    assert {"Namespace", "NetworkPolicy"} <= {manifest["kind"] for manifest in core}
    for manifest in core:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_fits_its_schema(overlay: Overlay, name: str, version: str) -> None:
    found = list(pods(overlay(name)))
    assert found
    for pod in found:
        kubernetes_validate.validate(as_pod(pod), version, strict=True)


def test_a_misspelled_field_does_not_fit(overlay: Overlay) -> None:
    pod, *_ = pods(overlay("cpu"))
    spec = {**pod.spec, "terminationGracePeriodSecond": 40}
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriodSecond"):
        kubernetes_validate.validate(as_pod(Pod("", {}, spec)), OLDEST, strict=True)


def test_the_page_names_the_oldest_version() -> None:
    page = (KUBERNETES.parents[1] / "docs" / "kubernetes.md").read_text("utf-8")
    assert f"Kubernetes {OLDEST}" in page
