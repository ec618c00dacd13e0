"""The manifests say the same as the compose file."""

import re
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.kubernetes.manifests import ROOT, Manifest, Pod, of_kind, only, pods

Overlay = Callable[[str], list[Manifest]]

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
MORE_MEMORY = {"ray": 2**30, "kserve": 2**30}
"""For Ray's own processes, and for the messages of gRPC."""

SERVING = {
    "cpu": "detector",
    "gpu": "detector-gpu",
    "keda": "detector",
    "kserve": "detector",
    "ray": "detector",
}
"""The service of the compose file that an overlay must equal."""


@pytest.fixture(params=sorted(SERVING))
def name(request: pytest.FixtureRequest) -> str:
    """The name of an overlay."""
    return str(request.param)


@pytest.fixture
def pod(overlay: Overlay, name: str) -> Pod:
    """The pod of the overlay that runs the service."""
    (found,) = (pod for pod in pods(overlay(name)) if pod.serves)
    return found


@pytest.fixture
def service(name: str) -> dict[str, Any]:
    """The compose file's service that the overlay must equal."""
    return dict(COMPOSE[SERVING[name]])


def default(text: str) -> str:
    """`3g` of `${SFD_MEMORY:-3g}`."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def amount(text: str) -> int:
    """The bytes of `3g`, `64m`, `3Gi` or `64Mi`."""
    found = re.fullmatch(r"(\d+)([kmg])i?", text.lower())
    assert found, text
    return int(found[1]) << (10 * ("kmg".index(found[2]) + 1))


def seconds(text: str) -> int:
    """The seconds of `35s`."""
    return int(text.removesuffix("s"))


def settings(manifests: list[Manifest]) -> dict[str, str]:
    """What the ConfigMap sets."""
    return dict(only(manifests, "ConfigMap")["data"])


def test_every_overlay_is_compared(name: str, overlay: Overlay) -> None:
    assert overlay(name)
    folders = {path.name for path in (ROOT / "docker/kubernetes/overlays").iterdir()}
    assert set(SERVING) == folders


def test_image_is_that_of_the_compose_file_with_the_version_as_tag(
    name: str, pod: Pod, service: dict[str, Any]
) -> None:
    image = default(service["image"]).replace("latest", VERSION)
    assert pod.container["image"] == (f"{image}-ray" if name == "ray" else image)


def test_every_pod_of_an_overlay_has_the_same_image(name: str, overlay: Overlay) -> None:
    assert len({pod.container["image"] for pod in pods(overlay(name))}) == 1


def test_dockerfile_builds_every_image() -> None:
    targets = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    assert {"cpu", "gpu", "ray"} <= set(targets)


def test_port_is_that_of_the_compose_file(pod: Pod, service: dict[str, Any]) -> None:
    published = service["ports"][0].rpartition(":")[2]
    ports = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
    assert ports["http"] == int(published)


def test_cpus_are_those_of_the_compose_file(pod: Pod, service: dict[str, Any]) -> None:
    cpus = default(service["deploy"]["resources"]["limits"]["cpus"])
    assert pod.container["resources"]["limits"]["cpu"] == cpus
    # Equal, so that a pod on a node with the static CPU policy gets cores of its own.
    assert pod.container["resources"]["requests"]["cpu"] == cpus


def test_memory_limit_is_that_of_the_compose_file(
    name: str, pod: Pod, service: dict[str, Any]
) -> None:
    limit = amount(default(service["deploy"]["resources"]["limits"]["memory"]))
    expected = limit + MORE_MEMORY.get(name, 0)
    assert amount(pod.container["resources"]["limits"]["memory"]) == expected


def test_only_the_overlay_gpu_takes_a_graphics_card(
    name: str, pod: Pod, service: dict[str, Any]
) -> None:
    resources = service["deploy"]["resources"]
    cards = [device["count"] for device in resources.get("reservations", {}).get("devices", [])]
    limits = pod.container["resources"]["limits"]
    assert limits.get("nvidia.com/gpu") == (str(cards[0]) if cards else None)


def test_settings_are_those_of_the_compose_file(
    name: str, overlay: Overlay, service: dict[str, Any]
) -> None:
    assert settings(overlay(name)) == service["environment"]


def test_the_pod_gets_the_settings_and_the_keys_of_the_secret(
    name: str, overlay: Overlay, pod: Pod
) -> None:
    config = only(overlay(name), "ConfigMap")["metadata"]["name"]
    assert config != "sfd-settings", (
        "kustomize adds a hash, so that changed settings start new pods"
    )
    for found in pods(overlay(name)):
        assert found.container["envFrom"] == [{"configMapRef": {"name": config}}]
        (secret,) = (value for value in found.container["env"] if "valueFrom" in value)
        reference = {"name": "sfd-api-keys", "key": "SFD_API_KEYS", "optional": True}
        assert secret == {"name": "SFD_API_KEYS", "valueFrom": {"secretKeyRef": reference}}


def test_every_variable_is_a_setting(name: str, overlay: Overlay, pod: Pod) -> None:
    known = {f"SFD_{field.upper()}" for field in Settings.model_fields}
    given = {value["name"] for value in pod.container["env"]} | set(settings(overlay(name)))
    given = {variable for variable in given if variable.startswith("SFD_")}
    # The setting of gRPC belongs to KServe's overlay.
    assert given - known <= {"SFD_GRPC_PORT"}


def test_a_pod_may_drain_as_long_as_in_the_compose_file(pod: Pod, service: dict[str, Any]) -> None:
    # The grace period includes the preStop hook.
    wait = pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = pod.spec["terminationGracePeriodSeconds"]
    assert grace == wait + seconds(service["stop_grace_period"])


def test_every_other_grace_period_is_the_same(name: str, overlay: Overlay) -> None:
    grace = {pod.spec["terminationGracePeriodSeconds"] for pod in pods(overlay(name))}
    assert len(grace) == 1


def test_tmp_is_the_only_writable_folder_and_as_large_as_in_the_compose_file(
    name: str, pod: Pod, service: dict[str, Any]
) -> None:
    (tmpfs,) = service["tmpfs"]
    path, size = re.findall(r"^(\S+):size=(\w+),", tmpfs)[0]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod.container["volumeMounts"]}
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod.spec["volumes"]}
    if name == "ray":
        # Ray writes sessions, logs and its object store too.
        assert set(mounts) == {path, "/dev/shm"}
        assert amount(volumes[mounts[path]]["sizeLimit"]) > amount(size)
        return
    assert set(mounts) == {path}
    assert volumes[mounts[path]]["medium"] == "Memory"
    assert amount(volumes[mounts[path]]["sizeLimit"]) == amount(size)


def test_service_sends_to_the_port_of_the_pod(overlay: Overlay) -> None:
    manifests = overlay("cpu")
    (port,) = only(manifests, "Service")["spec"]["ports"]
    (pod,) = pods(manifests)
    assert port["targetPort"] in {port["name"] for port in pod.container["ports"]}
    assert only(manifests, "Service")["spec"]["selector"].items() <= pod.labels.items()


def test_metrics_are_scraped_as_in_the_compose_file(name: str, overlay: Overlay) -> None:
    config = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text("utf-8"))
    intervals = config["global"]["scrape_interval"], config["global"]["scrape_timeout"]
    manifests = overlay(name)
    if name == "ray":
        spec = only(manifests, "ScrapeConfig")["spec"]
        assert not of_kind(manifests, "PodMonitor")
        assert (spec["scrapeInterval"], spec["scrapeTimeout"]) == intervals
        assert spec["jobName"] == config["scrape_configs"][0]["job_name"]
        return
    spec = only(manifests, "PodMonitor")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == intervals
    for pod in pods(manifests):
        assert spec["selector"]["matchLabels"].items() <= pod.labels.items()
        assert pod.labels[spec["jobLabel"]] == config["scrape_configs"][0]["job_name"]
        assert endpoint["port"] in {port["name"] for port in pod.container["ports"]}
