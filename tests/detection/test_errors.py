"""The kinds of error that a request can end in."""

import pytest

import service.errors
from detection import sources
from detection.errors import InvalidImage, Overloaded, RequestError
from detection.rendering import UnwritableFile


def kinds(base: type[RequestError] = RequestError) -> list[type[RequestError]]:
    return [each for kind in base.__subclasses__() for each in (kind, *kinds(kind))]


def test_each_kind_of_error_has_its_own_name_and_title() -> None:
    """Of detection, of `sfd detect` and of the service: a copied slug would merge two metrics."""
    assert {UnwritableFile, sources.UnreadableFile, service.errors.NotFound} <= {*kinds()}
    # InferenceFailed is the internal error itself, without its text.
    own = [kind for kind in kinds() if kind.slug != RequestError.slug]
    for names in ({kind.slug for kind in own}, {kind.title for kind in own}):
        assert len(names) == len(own)


@pytest.mark.parametrize("kind", kinds())
def test_a_slug_is_its_title_in_lower_case(kind: type[RequestError]) -> None:
    assert kind.slug == kind.title.lower().replace(" ", "-")
    assert 400 <= kind.status < 600


def test_problem_json_says_what_happened() -> None:
    assert InvalidImage("the file is empty").as_dict() == {
        "type": "invalid-image",
        "title": "Invalid image",
        "status": 400,
        "detail": "the file is empty",
    }
    assert Overloaded("full", retry_after_s=7).retry_after_s == 7
