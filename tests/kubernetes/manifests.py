"""The manifests of docker/kubernetes as Kubernetes would get them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "docker" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())

Manifest = dict[str, Any]

OF_KSERVE = {"model", "minReplicas", "maxReplicas", "deploymentStrategy", "labels", "annotations"}
"""The fields of a predictor that belong to KServe; the others are those of a pod."""


@dataclass(frozen=True)
class Pod:
    """A pod that an overlay makes: `name` says which, `spec` is its PodSpec."""

    name: str
    labels: dict[str, str]
    spec: Manifest

    @property
    def container(self) -> Manifest:
        """Its only container."""
        (container,) = self.spec["containers"]
        return dict(container)

    @property
    def serves(self) -> bool:
        """Whether it runs the service, which Ray's head does not."""
        return "http" in {port["name"] for port in self.container["ports"]}


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """The only manifest of a kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """The manifests of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pods(manifests: list[Manifest]) -> Iterator[Pod]:
    """Every pod that these manifests make, also those that an operator makes of its resources."""
    for manifest in of_kind(manifests, "Deployment"):
        yield _of_template("Deployment", manifest["spec"]["template"])
    for manifest in of_kind(manifests, "RayService"):
        cluster = manifest["spec"]["rayClusterConfig"]
        yield _of_template("Ray head", cluster["headGroupSpec"]["template"])
        for group in cluster["workerGroupSpecs"]:
            yield _of_template(f"Ray {group['groupName']}", group["template"])
    for manifest in of_kind(manifests, "InferenceService"):
        predictor = manifest["spec"]["predictor"]
        # KServe joins the runtime's containers and volumes with the predictor's fields.
        runtime = only(manifests, "ServingRuntime")["spec"]
        spec = {name: value for name, value in predictor.items() if name not in OF_KSERVE}
        spec |= {"containers": runtime["containers"], "volumes": runtime["volumes"]}
        yield Pod("KServe", predictor["labels"], spec)


def _of_template(name: str, template: Manifest) -> Pod:
    return Pod(name, template["metadata"]["labels"], template["spec"])
