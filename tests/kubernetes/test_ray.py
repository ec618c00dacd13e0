"""Ray reads the RayService as it is meant.

No package has the schema of KubeRay's resources. So its pods are checked by Kubernetes' schemas
(test_schemas.py), and the rest by Ray itself, which reads these resources too, and by a list of
fields.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.environments import Missing
from tests.kubernetes.manifests import ROOT, Manifest, only, pods

Overlay = Callable[[str], list[Manifest]]

# From KubeRay's API reference for ray.io/v1: the fields that this project uses, or might use next.
SERVICE = {"serveConfigV2", "rayClusterConfig", "serveService", "upgradeStrategy"}
CLUSTER = {
    "authOptions",
    "autoscalerOptions",
    "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "rayVersion",
    "workerGroupSpecs",
}
HEAD = {"headService", "rayStartParams", "serviceType", "template"}
WORKERS = {
    "groupName",
    "idleTimeoutSeconds",
    "maxReplicas",
    "minReplicas",
    "numOfHosts",
    "rayStartParams",
    "replicas",
    "scaleStrategy",
    "template",
}


@pytest.fixture
def service(overlay: Overlay) -> Manifest:
    """The `spec` of the RayService."""
    return dict(only(overlay("ray"), "RayService")["spec"])


@pytest.fixture
def cluster(service: Manifest) -> Manifest:
    """Its `rayClusterConfig`."""
    return dict(service["rayClusterConfig"])


@pytest.fixture
def config(service: Manifest) -> dict[str, Any]:
    """What Ray Serve gets."""
    return dict(yaml.safe_load(service["serveConfigV2"]))


@pytest.fixture
def ray(missing: Missing) -> Callable[[str], Any]:
    """Imports a module of Ray, which no lock of the tests has."""
    if not importlib.util.find_spec("ray"):
        missing("ray is not installed (pip install 'ray[serve]')")

    def load(module: str) -> Any:
        # Ray's own warnings are not ours to heed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)

    return load


def groups(cluster: Manifest) -> list[Manifest]:
    """The head's group and those of the workers."""
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_every_field_is_one_of_kuberay(service: Manifest, cluster: Manifest) -> None:
    assert service.keys() <= SERVICE
    assert cluster.keys() <= CLUSTER
    assert cluster["headGroupSpec"].keys() <= HEAD
    assert all(group.keys() <= WORKERS for group in cluster["workerGroupSpecs"])


def test_there_is_a_replica_for_each_worker(cluster: Manifest, config: dict[str, Any]) -> None:
    (application,) = config["applications"]
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["replicas"] == application["args"]["replicas"]
    assert workers["rayStartParams"]["num-cpus"] == str(application["args"]["num_cpus"])
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == str(
        application["args"]["num_cpus"]
    )


def test_only_who_has_the_token_may_run_code(cluster: Manifest) -> None:
    assert cluster["authOptions"] == {"mode": "token"}


def test_no_replica_runs_on_the_head(cluster: Manifest) -> None:
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_configuration_is_that_for_a_cluster_without_kubernetes(
    overlay: Overlay, config: dict[str, Any], missing: Missing
) -> None:
    file = ROOT / "docker" / "ray" / "serve.yaml"
    if not file.is_file():
        missing("this checkout has no docker/ray/serve.yaml")
    other = yaml.safe_load(file.read_text("utf-8"))
    arguments = other["applications"][0]["args"]
    # Here the settings are in the environment, and the workers are as many as the replicas.
    settings = arguments.pop("settings", {})
    arguments.pop("max_replicas", None)
    assert config == other
    data = only(overlay("ray"), "ConfigMap")["data"]
    assert {name: str(value) for name, value in settings.items()} == data


def test_proxy_waits_longer_than_the_service(config: dict[str, Any]) -> None:
    deadline = Settings.model_fields["request_timeout_s"].default
    assert config["http_options"]["request_timeout_s"] > deadline


def test_proxy_listens_on_the_port_of_the_pods(overlay: Overlay, config: dict[str, Any]) -> None:
    (worker,) = (pod for pod in pods(overlay("ray")) if pod.serves)
    (port,) = worker.container["ports"]
    assert config["http_options"]["port"] == port["containerPort"]
    assert config["http_options"]["host"] == "0.0.0.0"


def test_object_store_fits_its_volume(cluster: Manifest) -> None:
    for group in groups(cluster):
        volumes = {item["name"]: item for item in group["template"]["spec"]["volumes"]}
        size = int(volumes["shm"]["emptyDir"]["sizeLimit"].removesuffix("Mi")) * 2**20
        assert int(group["rayStartParams"]["object-store-memory"]) < size


def test_probes_ask_the_agent_where_it_listens(cluster: Manifest) -> None:
    for group in groups(cluster):
        (container,) = group["template"]["spec"]["containers"]
        port = container["livenessProbe"]["httpGet"]["port"]
        assert group["rayStartParams"]["dashboard-agent-listen-port"] == str(port)


def test_ray_accepts_the_configuration_and_ignores_nothing(
    ray: Callable[[str], Any], config: dict[str, Any]
) -> None:
    schema = ray("ray.serve.schema")
    # Ray ignores fields that it does not know, so a typing mistake would not be refused.
    assert config.keys() <= schema.ServeDeploySchema.model_fields.keys()
    assert config["http_options"].keys() <= schema.HTTPOptionsSchema.model_fields.keys()
    (application,) = config["applications"]
    assert application.keys() <= schema.ServeApplicationSchema.model_fields.keys()
    assert schema.ServeDeploySchema.model_validate(config).applications[0].name == "sfd"


def test_ray_is_started_with_options_that_it_knows(
    ray: Callable[[str], Any], cluster: Manifest
) -> None:
    options = ray("ray.scripts.scripts").start.params
    known = {name.removeprefix("--") for option in options for name in option.opts}
    assert all(group["rayStartParams"].keys() <= known for group in groups(cluster))


def test_ray_is_the_version_of_the_image(cluster: Manifest) -> None:
    lock = (ROOT / "requirements/ray.txt").read_text("utf-8")
    assert f"\nray=={cluster['rayVersion']} " in lock


def test_autoscaler_of_ray_reads_the_groups(ray: Callable[[str], Any], cluster: Manifest) -> None:
    module = ray("ray.autoscaler._private.kuberay.autoscaling_config")
    resource = {"metadata": {"name": "sfd", "namespace": "sfd"}, "spec": cluster}
    read = module._derive_autoscaling_config_from_ray_cr(resource)
    types = read["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["detectors"]["resources"]["CPU"] == 2
    assert (types["detectors"]["min_workers"], types["detectors"]["max_workers"]) == (2, 2)


def test_application_exists(config: dict[str, Any], missing: Missing) -> None:
    (application,) = config["applications"]
    module, _, name = application["import_path"].partition(":")
    found = importlib.util.find_spec(module)
    if not found or not found.origin:
        missing(f"this checkout has no {module}")
    with open(found.origin, encoding="utf-8") as source:
        assert f"\ndef {name}(" in source.read()
