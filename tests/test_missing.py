"""A test that lacks something is skipped, and fails only if SFD_REQUIRE_ALL is set."""

import re
from pathlib import Path

import pytest

from tests.environments import Missing

TESTS = Path(__file__).parent


@pytest.mark.parametrize("ci", ["true", ""])
def test_a_missing_part_skips_the_test_in_a_public_ci_too(
    missing: Missing, monkeypatch: pytest.MonkeyPatch, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.delenv("SFD_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such program"):
        missing("no such program")


def test_a_missing_part_fails_the_test_if_everything_is_required(
    missing: Missing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFD_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no such program"):
        missing("no such program")


def test_no_test_depends_on_the_variable_that_every_public_ci_sets() -> None:
    reading = re.compile(r"""environ(\.get\(|\[)["']CI["']|getenv\(["']CI["']""")
    found = [path for path in TESTS.rglob("*.py") if reading.search(path.read_text("utf-8"))]
    assert found == []
