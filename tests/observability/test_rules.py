"""Each alert fires when it should, stays quiet otherwise, and links to its documentation."""

import re
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "docker" / "prometheus" / "rules"
CASES = Path(__file__).parent / "promtool"


def _rules(kind: str) -> dict[str, dict[str, Any]]:
    return {
        rule[kind]: rule
        for path in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
        if kind in rule
    }


ALERTS = _rules("alert")


def test_promtool_accepts_every_rule(promtool: str) -> None:
    files = [str(path) for path in sorted(RULES.glob("*.yml"))]
    done = subprocess.run([promtool, "check", "rules", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration(promtool: str) -> None:
    config = str(ROOT / "docker" / "prometheus" / "prometheus.yml")
    command = [promtool, "check", "config", "--syntax-only", config]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_alert_fires_and_stays_silent_as_its_cases_say(promtool: str, alert: str) -> None:
    path = CASES / f"{alert}.yml"
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_alert_has_a_case_that_fires_and_one_that_never_does(alert: str) -> None:
    cases = yaml.safe_load((CASES / f"{alert}.yml").read_text("utf-8"))["tests"]
    fires = [
        any(
            check["exp_alerts"]
            for check in cast(list[dict[str, Any]], case["alert_rule_test"])
            if check["alertname"] == alert
        )
        for case in cases
    ]
    assert any(fires)
    assert not all(fires)


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_alert_has_a_severity_a_summary_and_its_paragraph_of_the_runbook(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{alert.lower()}"
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/runbook.md").read_text("utf-8"), re.M)
    assert alert in headings


@pytest.mark.parametrize("record", sorted(_rules("record")))
def test_recorded_name_says_its_level_metric_and_operation(record: str) -> None:
    assert re.fullmatch(r"job:sfd_\w+:\w+", record)
