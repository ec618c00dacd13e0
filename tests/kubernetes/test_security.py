"""Every pod meets the standard "restricted"; the network lets through only what it must."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.kubernetes.manifests import OVERLAYS, Manifest, Pod, of_kind, only, pods

Overlay = Callable[[str], list[Manifest]]


@pytest.fixture(params=OVERLAYS)
def name(request: pytest.FixtureRequest) -> str:
    """The name of an overlay."""
    return str(request.param)


@pytest.fixture
def found(overlay: Overlay, name: str) -> list[Pod]:
    """Every pod of the overlay."""
    return list(pods(overlay(name)))


def security(pod: Pod) -> dict[str, Any]:
    """The security context of the pod with that of its container, which wins."""
    return {**pod.spec.get("securityContext", {}), **pod.container["securityContext"]}


def test_namespace_enforces_the_standard(overlay: Overlay, name: str) -> None:
    labels = only(overlay(name), "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_manifest_is_in_that_namespace(overlay: Overlay, name: str) -> None:
    manifests = overlay(name)
    namespace = only(manifests, "Namespace")["metadata"]["name"]
    others = [manifest for manifest in manifests if manifest["kind"] != "Namespace"]
    assert {manifest["metadata"]["namespace"] for manifest in others} == {namespace}


def test_no_pod_runs_as_root(found: list[Pod]) -> None:
    for pod in found:
        context = security(pod)
        assert context["runAsNonRoot"] is True
        assert (context["runAsUser"], context["runAsGroup"]) == (10001, 10001)


def test_no_pod_has_capabilities_or_can_get_them(found: list[Pod]) -> None:
    for pod in found:
        context = security(pod)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["allowPrivilegeEscalation"] is False
        assert "privileged" not in context


def test_every_pod_has_the_seccomp_profile_of_its_runtime(found: list[Pod]) -> None:
    assert all(security(pod)["seccompProfile"] == {"type": "RuntimeDefault"} for pod in found)


def test_no_pod_can_write_to_its_image(found: list[Pod]) -> None:
    assert all(security(pod)["readOnlyRootFilesystem"] is True for pod in found)


def test_no_pod_sees_the_node(found: list[Pod]) -> None:
    for pod in found:
        assert not pod.spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert {kind for volume in pod.spec["volumes"] for kind in volume} == {"name", "emptyDir"}
        assert all("hostPort" not in port for port in pod.container["ports"])


def test_every_volume_has_a_size(found: list[Pod]) -> None:
    for pod in found:
        assert all(volume["emptyDir"]["sizeLimit"] for volume in pod.spec["volumes"])


def test_no_pod_has_a_token_of_the_api_server(overlay: Overlay, name: str) -> None:
    account = only(overlay(name), "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    for pod in pods(overlay(name)):
        assert pod.spec["serviceAccountName"] == account["metadata"]["name"]
        assert pod.spec["automountServiceAccountToken"] is False


def test_no_service_sets_variables_in_a_pod(found: list[Pod]) -> None:
    # A Service named sfd would set SFD_PORT, which is a setting.
    assert all(pod.spec["enableServiceLinks"] is False for pod in found)


def test_every_image_has_a_version(found: list[Pod]) -> None:
    for pod in found:
        tag = pod.container["image"].partition(":")[2]
        assert tag[:1].isdigit()


def test_every_container_has_requests_and_limits(found: list[Pod]) -> None:
    for pod in found:
        resources = pod.container["resources"]
        assert {"cpu", "memory", "ephemeral-storage"} <= resources["requests"].keys()
        assert {"cpu", "memory", "ephemeral-storage"} <= resources["limits"].keys()


def test_probes_differ(found: list[Pod]) -> None:
    for pod in found:
        alive = pod.container["livenessProbe"]["httpGet"]
        assert alive != pod.container["readinessProbe"]["httpGet"]
        start = pod.container["startupProbe"]
        # Longer than the image's own start period.
        assert start["periodSeconds"] * start["failureThreshold"] > 60


def test_policy_selects_every_pod(overlay: Overlay, name: str, found: list[Pod]) -> None:
    policy = only(overlay(name), "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    for pod in found:
        assert policy["podSelector"]["matchLabels"].items() <= pod.labels.items()


def test_policy_lets_the_cluster_reach_the_ports_of_the_service_only(
    overlay: Overlay, name: str, found: list[Pod]
) -> None:
    rules = only(overlay(name), "NetworkPolicy")["spec"]["ingress"]
    everyone = [rule for rule in rules if rule["from"] == [{"namespaceSelector": {}}]]
    allowed = {port["port"] for rule in everyone for port in rule["ports"]}
    serving = {
        port["containerPort"] for pod in found if pod.serves for port in pod.container["ports"]
    }
    assert allowed == serving


def test_policy_lets_nothing_out_except_between_pods_of_ray(overlay: Overlay, name: str) -> None:
    policy = only(overlay(name), "NetworkPolicy")["spec"]
    if name != "ray":
        assert policy["egress"] == []
        return
    among, names = policy["egress"]
    assert among == {"to": [{"podSelector": policy["podSelector"]}]}
    assert {port["port"] for port in names["ports"]} == {53}


def test_an_eviction_leaves_a_pod(overlay: Overlay, name: str, found: list[Pod]) -> None:
    budget = only(overlay(name), "PodDisruptionBudget")["spec"]
    # KubeRay's pods have no owner whose wanted number Kubernetes could read.
    if name == "ray":
        assert budget["minAvailable"] == 1
    else:
        assert budget["maxUnavailable"] == 1
    selected = budget["selector"]["matchLabels"].items()
    (pod,) = (pod for pod in found if selected <= pod.labels.items())
    assert pod.serves


def test_there_are_at_least_two_pods(overlay: Overlay, name: str) -> None:
    manifests = overlay(name)
    numbers = [
        *(manifest["spec"].get("replicas") for manifest in of_kind(manifests, "Deployment")),
        *(manifest["spec"]["minReplicaCount"] for manifest in of_kind(manifests, "ScaledObject")),
        *(
            manifest["spec"]["predictor"]["minReplicas"]
            for manifest in of_kind(manifests, "InferenceService")
        ),
        *(
            group["minReplicas"]
            for manifest in of_kind(manifests, "RayService")
            for group in manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        ),
    ]
    assert min(number for number in numbers if number is not None) >= 2


@pytest.mark.parametrize("which", ["cpu", "gpu", "keda", "kserve"])
def test_an_update_stops_no_pod_before_the_next_one_is_ready(overlay: Overlay, which: str) -> None:
    manifests = overlay(which)
    strategies = [manifest["spec"]["strategy"] for manifest in of_kind(manifests, "Deployment")]
    strategies += [
        manifest["spec"]["predictor"]["deploymentStrategy"]
        for manifest in of_kind(manifests, "InferenceService")
    ]
    (strategy,) = strategies
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_pods_are_spread_over_nodes_and_zones(found: list[Pod]) -> None:
    for pod in found:
        if pod.serves:
            spread = {rule["topologyKey"] for rule in pod.spec["topologySpreadConstraints"]}
            assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
