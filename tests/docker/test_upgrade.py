"""Restarts and replacements under constant load: accepted requests are answered."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.docker.conftest import Stack

Run = Callable[..., str]
Outcomes = list[dict[str, Any]]
Load = Callable[[list[str], str, str], AbstractContextManager[Outcomes]]
PROGRAM = Path(__file__).resolve().parents[2] / "docker" / "load.py"


def test_rolling_replacement_behind_the_balancer_fails_no_request(
    stack: "Stack", run: Run, load: Load, photo: Path
) -> None:
    before = set(stack.compose("ps", "-q", "replica", "detector").split())
    with load([sys.executable, str(PROGRAM)], stack.balancer, str(photo)) as outcomes:
        run("docker/rolling-update")
    after = set(stack.compose("ps", "-q", "replica", "detector").split())
    assert len(after) == 3
    assert not before & after
    failed = [outcome for outcome in outcomes if outcome["status"] != 200]
    assert not failed, failed[:5]
    assert len(outcomes) > 50


def test_restart_of_the_only_detector_loses_no_accepted_request(
    stack: "Stack", run: Run, load: Load, photo: Path, image: str
) -> None:
    """Connections refused in between were never accepted; 503 says so to the client."""
    # From inside the network, because Docker's port proxy accepts connections that the detector
    # refuses.
    inside = [
        "docker", "run", "--rm", "--interactive", "--network", "sfdtest_default",
        "--volume", f"{PROGRAM}:/load.py:ro", "--volume", f"{photo}:/photo.jpg:ro",
        "--entrypoint", "python", image, "/load.py",
    ]  # fmt: skip
    since = run("date", "+%s")
    with load(inside, "http://detector:8000", "/photo.jpg") as outcomes:
        stack.compose("restart", "--no-deps", "detector")
        stack.compose("up", "--detach", "--no-build", "--no-recreate", "--wait", "detector")
    died = run(
        "docker", "events", "--since", since, "--until", run("date", "+%s"),
        "--filter", f"container={stack.container('detector')}", "--filter", "event=die",
        "--format", '{{.Actor.Attributes.exitCode}}',
    )  # fmt: skip
    assert died.split() == ["0"]

    counted = Counter(outcome["status"] for outcome in outcomes)
    assert outcomes[0]["status"] == outcomes[-1]["status"] == 200
    assert set(counted) <= {200, 503, 0}, counted
    broken = [o for o in outcomes if o["connected"] and not o["status"]]
    accepted = _accepted(run("sh", "-c", f"docker logs {stack.container('detector')} 2>&1"))
    assert accepted >= {outcome["id"] for outcome in outcomes if outcome["status"] == 200}
    assert not [o for o in broken if o["id"] in accepted], broken[:5]


def _accepted(log: str) -> set[str]:
    """Ids of all requests in the detector's log."""
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return {str(entry["request_id"]) for entry in entries if "request_id" in entry}
