"""The real service, with the variables of an overlay, answers the probes of its pods."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx
import pytest

from service.settings import Settings
from tests.kubernetes.manifests import Manifest, Pod, only, pods

Overlay = Callable[[str], list[Manifest]]
Service = Callable[..., AbstractContextManager[str]]


def variables(manifests: list[Manifest], pod: Pod) -> dict[str, str]:
    """What the manifests set, by the names of settings: SHUTDOWN_GRACE_S."""
    given = dict(only(manifests, "ConfigMap")["data"])
    given |= {item["name"]: item["value"] for item in pod.container["env"] if "value" in item}
    names = {name: name.removeprefix("SFD_") for name in given}
    known = {field.upper() for field in Settings.model_fields}
    # gRPC has a port of its own, for which only a fixed number makes sense.
    return {
        short: "0" if short == "GRPC_PORT" else given[name]
        for name, short in names.items()
        if short in known
    }


# Ray's pods are asked through Ray.
@pytest.mark.parametrize("name", ["cpu", "kserve"])
def test_every_probe_is_answered(overlay: Overlay, running_service: Service, name: str) -> None:
    manifests = overlay(name)
    (pod,) = pods(manifests)
    probes = [pod.container[f"{probe}Probe"] for probe in ("startup", "readiness", "liveness")]
    with running_service(**variables(manifests, pod)) as url:
        for probe in probes:
            assert probe["httpGet"]["port"] == "http"
            path = probe["httpGet"]["path"]
            answer = httpx.get(url + path, timeout=probe["timeoutSeconds"] * 10)
            assert answer.status_code == 200, path
