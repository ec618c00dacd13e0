"""The errors that a client can see, and their documentation."""

from pathlib import Path

from detection.errors import RequestError
from service.errors import DOCUMENTED, ClientGone, MethodNotAllowed
from service.openapi import DETAILS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"


def kinds(base: type[RequestError]) -> set[type[RequestError]]:
    return {each for kind in base.__subclasses__() for each in (kind, *kinds(kind))}


def test_every_error_that_a_client_can_see_is_documented() -> None:
    raised = {
        kind
        for kind in kinds(RequestError)
        if kind.__module__ in ("detection.errors", "service.errors")
    }
    assert raised - set(DOCUMENTED) == {ClientGone}
    assert len(set(DOCUMENTED)) == len(DOCUMENTED)


def test_documented_errors_have_an_example_and_stand_on_the_page_of_errors() -> None:
    text = PAGE.read_text("utf-8")
    for kind in DOCUMENTED:
        assert DETAILS[kind.slug]
        assert f"`{kind.slug}`" in text


def test_they_are_listed_by_status() -> None:
    listed = [kind.status for kind in DOCUMENTED]
    assert listed == sorted(listed)


def test_a_wrong_method_says_what_is_allowed() -> None:
    assert MethodNotAllowed("no", allow="POST").allow == "POST"
