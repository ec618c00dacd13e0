"""The judge of the soak sees each promise that can be broken."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.reliability.clients import GOOD, LEAVING, POISON, SLOW, Clients, Sent
from tests.reliability.lives import Life
from tests.reliability.processes import Held
from tests.reliability.verdict import failures

FINE = Sent("soak-1", GOOD, began=10, ended=11, status=200, is_right=True)
HELD = Held(processes=1, memory_mb=200, threads=9, descriptors=20)


@pytest.fixture
def life(tmp_path: Path) -> Life:
    """From second 5 to 20, with a log that has the request soak-1."""
    life = Life("steady", "a file", ready=5, ending=20, ended=21, exit_code=0, kills=[6.0])
    life.log = tmp_path / "log"
    write(life, ("soak-1", 200))
    return life


def write(life: Life, *lines: tuple[str, int]) -> None:
    assert life.log is not None
    entries = [
        {"logger": "service.access", "path": "/detect", "request_id": name, "status": status}
        for name, status in lines
    ]
    life.log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def found(life: Life, *sent: Sent) -> list[str]:
    return list(failures(Clients("", b"", sent=list(sent)), [life]))


def test_a_request_with_its_answer_and_its_line_in_the_log_is_fine(life: Life) -> None:
    assert found(life, FINE) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"status": None, "error": "reset"}, "no answer: reset"),
        ({"is_right": False}, "wrong faces or id"),
        ({"status": 500}, "500, not 200"),
        ({"kind": POISON}, "200, not 500"),
        ({"id": "soak-2"}, "soak-2: 200, but not in the log"),
    ],
)
def test_an_answer_that_breaks_a_promise_is_seen(
    life: Life, change: dict[str, object], text: str
) -> None:
    assert text in "\n".join(found(life, replace(FINE, **change)))  # type: ignore[arg-type]


def test_an_answer_that_the_log_does_not_have_or_has_twice_is_seen(life: Life) -> None:
    write(life, ("soak-1", 503))
    assert found(life, FINE) == ["soak-1: 200, but the log says 503"]
    write(life, ("soak-1", 200), ("soak-1", 200))
    assert found(life, FINE) == ["soak-1: answered 2 times"]


def test_a_request_is_lost_at_the_end_only_if_the_service_knew_it(life: Life) -> None:
    lost = replace(FINE, began=19.5, ended=20.5, status=None, error="reset")
    assert found(life, lost) == ["soak-1 (good): accepted (200), but lost: reset"]
    write(life)
    assert found(life, lost) == []


def test_a_slow_client_may_lose_the_answer_that_came_while_it_sent(life: Life) -> None:
    lost = replace(FINE, kind=SLOW, began=19.5, ended=20.5, status=None, error="reset")
    assert found(life, lost) == ["soak-1 (slow): accepted (200), but lost: reset"]
    write(life, ("soak-1", 503))
    assert found(life, lost) == []


def test_whoever_leaves_gets_no_answer_and_one_line_at_most(life: Life) -> None:
    left = replace(FINE, kind=LEAVING, status=None)
    assert found(life, left) == []
    write(life, ("soak-1", 499), ("soak-1", 499))
    assert found(life, left) == ["soak-1: answered 2 times"]


def test_a_killed_decoder_excuses_no_status(life: Life) -> None:
    write(life, ("soak-1", 500))
    life.kills.append(10.5)
    assert found(life, replace(FINE, status=500)) != []


@pytest.mark.parametrize(
    ("grown", "what"),
    [
        (replace(HELD, memory_mb=240), "memory"),
        (replace(HELD, threads=20), "threads"),
        (replace(HELD, descriptors=40), "descriptors"),
    ],
)
def test_growth_is_seen(life: Life, grown: Held, what: str) -> None:
    life.rest = [HELD, HELD]
    assert found(life, FINE) == []
    life.rest = [HELD, grown]
    (failure,) = found(life, FINE)
    assert f"steady: {what} grew" in failure


def test_an_exit_code_and_a_stray_line_are_seen(life: Life) -> None:
    life.exit_code = None
    assert life.log is not None
    life.log.write_text(life.log.read_text() + "libtiff: a warning\n")
    text = "\n".join(found(life, FINE))
    assert "exit code None after SIGTERM" in text
    assert "no JSON: libtiff" in text
