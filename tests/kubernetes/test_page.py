"""The overlay that docs/kubernetes.md shows works."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest

from tests.kubernetes.manifests import KUBERNETES, OVERLAYS, ROOT, Manifest, of_kind, only, pods

PAGE = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
FILES = dict(re.findall(r"<!-- tested: ([\w.]+) -->\n\n```yaml\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def mine(tmp_path: Path, render: Callable[[Path], list[Manifest]]) -> list[Manifest]:
    """The manifests of the overlay of the page."""
    folder = tmp_path / "kubernetes" / "overlays" / "mine"
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    return render(folder)


def test_everything_is_in_the_namespace_of_the_overlay(mine: list[Manifest]) -> None:
    assert only(mine, "Namespace")["metadata"]["name"] == "faces"
    others = [manifest for manifest in mine if manifest["kind"] != "Namespace"]
    assert {manifest["metadata"]["namespace"] for manifest in others} == {"faces"}


def test_image_is_pinned_by_its_digest(mine: list[Manifest]) -> None:
    (pod,) = pods(mine)
    assert re.fullmatch(r"registry\.example\.org/sfd@sha256:[0-9a-f]{64}", pod.container["image"])


def test_settings_are_added_to_those_of_the_project(mine: list[Manifest]) -> None:
    settings = only(mine, "ConfigMap")["data"]
    assert settings["SFD_MAX_PIXELS"] == "20MP"
    assert settings["SFD_SHUTDOWN_GRACE_S"] == "25"


def test_the_volume_of_models_is_added_to_the_others(mine: list[Manifest]) -> None:
    (pod,) = pods(mine)
    assert {mount["mountPath"] for mount in pod.container["volumeMounts"]} == {"/tmp", "/models"}
    assert {volume["name"] for volume in pod.spec["volumes"]} == {"tmp", "models"}


def test_pods_may_fetch_from_outside_but_not_from_private_networks(mine: list[Manifest]) -> None:
    policy = only(mine, "NetworkPolicy")["spec"]
    blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule["to"] if "ipBlock" in to]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0"]
    assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(blocks[0]["except"])
    assert policy["ingress"]


def test_resources_of_the_operator_are_gone(mine: list[Manifest]) -> None:
    assert not of_kind(mine, "PodMonitor") + of_kind(mine, "PrometheusRule")


def test_every_manifest_fits_its_schema(mine: list[Manifest]) -> None:
    for manifest in mine:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_page_shows_how_to_apply_every_overlay(name: str) -> None:
    assert f"\nkubectl apply -k docker/kubernetes/overlays/{name}\n" in PAGE
    assert f"\n| `{name}` |" in PAGE
