"""KEDA scales on what clients wait for, by queries whose metrics exist."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from service.metrics import Metrics
from tests.kubernetes.manifests import KUBERNETES, ROOT, Manifest, of_kind, only

Overlay = Callable[[str], list[Manifest]]

SCALED = yaml.safe_load((KUBERNETES / "overlays/keda/scaledobject.yaml").read_text("utf-8"))
TRIGGERS: dict[str, dict[str, Any]] = {
    trigger["name"]: trigger for trigger in SCALED["spec"]["triggers"]
}
RULES = {
    rule.get("alert") or rule["record"]: rule
    for path in (ROOT / "docker/prometheus/rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    for rule in group["rules"]
}


def threshold(name: str) -> float:
    """The value of a trigger at which the number of pods is right."""
    return float(TRIGGERS[name]["metadata"]["threshold"])


def test_wait_comes_first_and_nothing_looks_at_the_cpu() -> None:
    assert list(TRIGGERS) == ["queue-wait", "latency", "load"]
    assert {trigger["type"] for trigger in TRIGGERS.values()} == {"prometheus"}


@pytest.mark.parametrize("name", TRIGGERS)
def test_every_metric_of_a_query_is_one_of_the_service(name: str) -> None:
    known = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    known |= {name for family in Metrics().registry.collect() for name in _samples(family)}
    query = TRIGGERS[name]["metadata"]["query"]
    used = set(re.findall(r"\bsfd_\w+", query))
    assert used
    assert used <= known


def _samples(family: Any) -> set[str]:
    """The names that a family has even before its first label."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return {family.name + suffix for suffix in suffixes.get(family.type, [""])}


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_lost_prometheus_is_an_error_and_not_a_zero(name: str) -> None:
    assert TRIGGERS[name]["metadata"]["ignoreNullValues"] == "false"
    assert "fallback" in SCALED["spec"]


def test_the_fallback_is_possible() -> None:
    # KEDA refuses it unless one trigger is an average over the pods.
    assert "AverageValue" in {trigger["metricType"] for trigger in TRIGGERS.values()}


def test_pods_are_added_before_the_alert_on_the_queue() -> None:
    limit = float(RULES["SfdQueueSaturated"]["expr"].rpartition(">")[2])
    assert threshold("queue-wait") < limit


def test_pods_are_added_before_the_objective_of_latency_is_missed() -> None:
    limit = float(RULES["SfdHighLatency"]["expr"].rpartition(">")[2])
    assert threshold("latency") < limit


def test_latency_counts_every_route_of_the_objective() -> None:
    counted = routes(TRIGGERS["latency"]["metadata"]["query"])
    assert routes(RULES["job:sfd_request_seconds:p99_5m"]["expr"]) <= counted


def routes(query: str) -> set[str]:
    """The patterns of routes that a query selects."""
    (pattern,) = re.findall(r'route=~"([^"]+)"', query)
    return set(pattern.split("|"))


def test_it_scales_the_deployment_whose_number_of_pods_nobody_else_sets(overlay: Overlay) -> None:
    manifests = overlay("keda")
    deployment = only(manifests, "Deployment")
    target = only(manifests, "ScaledObject")["spec"]["scaleTargetRef"]
    assert target["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]


def test_the_overlay_drops_the_alert_that_each_scale_down_would_fire(overlay: Overlay) -> None:
    alerts = {
        name: {
            rule["alert"]
            for group in only(overlay(name), "PrometheusRule")["spec"]["groups"]
            for rule in group["rules"]
            if "alert" in rule
        }
        for name in ("cpu", "keda")
    }
    assert alerts["cpu"] - alerts["keda"] == {"SfdReplicaMissing"}


def test_nothing_else_scales(overlay: Overlay) -> None:
    for name in ("cpu", "gpu", "keda", "kserve", "ray"):
        assert of_kind(overlay(name), "HorizontalPodAutoscaler") == []


def test_the_rules_for_the_operator_are_up_to_date() -> None:
    command = [sys.executable, str(KUBERNETES / "rules.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
