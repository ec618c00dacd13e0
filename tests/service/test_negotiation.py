import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.negotiation import choose

OFFERED = ("image/jpeg", "image/png")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "image/jpeg"),
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/png;q=0.5, image/jpeg;q=0.4", "image/png"),
        ("image/png;q=0.5, */*;q=0.5", "image/jpeg"),
        ("image/png, */*;q=0.5", "image/png"),
        ("image/jpeg;q=0, */*", "image/png"),
        ("image/jpeg;q=0, image/*;q=0.1", "image/png"),
        ("image/png;q=0, image/jpeg;q=0", None),
        ("*/*;q=0", None),
        ("text/html", None),
        ("application/json, image/png;q=0.001", "image/png"),
        ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", "image/jpeg"),
        ("image/png; q=1; level=2", "image/png"),
        ("image/png;q=nan", "image/jpeg"),
        ("image/png;q=2", "image/jpeg"),
        ("nonsense", "image/jpeg"),
        (", ,", "image/jpeg"),
    ],
)
def test_the_preferred_type_is_chosen_and_ours_breaks_ties(accept: str, chosen: str | None) -> None:
    assert choose(accept, OFFERED) == chosen


@given(st.text())
def test_any_header_gives_an_offered_type_or_none(accept: str) -> None:
    assert choose(accept, OFFERED) in (*OFFERED, None)
