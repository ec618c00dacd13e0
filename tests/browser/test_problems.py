"""What the demo page says when something fails, and when a key is needed, in Chromium."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browser.demo import choose, drop, wait_for_result

OpenPage = Callable[..., Page]


def test_a_file_that_is_not_an_image_is_explained(
    page: Page, tmp_path: Path, expected_statuses: set[int]
) -> None:
    expected_statuses |= {400, 415}
    (tmp_path / "notes.txt").write_text("no picture at all\n")
    drop(page, tmp_path / "notes.txt")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("notes.txt: ")
    with_status = alert.inner_text()
    assert len(with_status) > len("notes.txt: ") + 15
    assert "{" not in with_status
    expect(page.locator("#status")).to_have_text("No answer")


def test_the_failed_pictures_among_several_are_named(
    page: Page, portrait: Path, tmp_path: Path, expected_statuses: set[int]
) -> None:
    expected_statuses |= {400, 415}
    (tmp_path / "notes.txt").write_text("not a picture at all\n")
    (tmp_path / "page.pdf").write_bytes(b"%PDF-1.7 ")
    choose(page, portrait, tmp_path / "notes.txt", tmp_path / "page.pdf")
    wait_for_result(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("2 of 3 pictures failed.")
    expect(alert).to_contain_text("notes.txt: Unsupported media type. This is text")
    expect(alert).to_contain_text("page.pdf: Unsupported media type. This is PDF")


def test_a_later_picture_clears_the_problem(
    page: Page, portrait: Path, tmp_path: Path, expected_statuses: set[int]
) -> None:
    expected_statuses |= {400, 415}
    (tmp_path / "notes.txt").write_text("no picture at all\n")
    choose(page, tmp_path / "notes.txt")
    expect(page.get_by_role("alert")).to_contain_text("notes.txt")
    choose(page, portrait)
    wait_for_result(page)
    expect(page.get_by_role("alert")).to_be_empty()


def test_an_unreachable_service_can_be_retried(
    page: Page, portrait: Path, expected_statuses: set[int]
) -> None:
    expected_statuses.add(0)
    page.route("**/detect?*", lambda route: route.abort())
    choose(page, portrait)
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    page.unroute("**/detect?*")
    page.get_by_role("button", name="Try again").click()
    wait_for_result(page)
    expect(page.get_by_role("alert")).to_be_empty()


def test_an_overloaded_service_says_when_to_try_again(
    page: Page, portrait: Path, expected_statuses: set[int]
) -> None:
    expected_statuses.add(503)

    def refuse(route: Route) -> None:
        route.fulfill(
            status=503,
            headers={"Retry-After": "2", "Content-Type": "application/problem+json"},
            body='{"type": "overloaded", "title": "Overloaded", "status": 503, '
            '"detail": "The queue is full."}',
        )

    page.route("**/detect?*", refuse)
    choose(page, portrait)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The queue is full.")
    expect(alert).to_contain_text("Try again in 2 seconds.")


@pytest.mark.parametrize("body", ["<html>Sign in</html>", "", "null", "{}"])
def test_an_answer_that_is_not_from_the_service_is_explained(
    page: Page, portrait: Path, body: str
) -> None:
    page.route("**/detect?*", lambda route: route.fulfill(status=200, body=body))
    choose(page, portrait)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(f"{portrait.name}: The answer is not from the face detector.")
    page.unroute("**/detect?*")
    page.get_by_role("button", name="Try again").click()
    wait_for_result(page)
    expect(alert).to_be_empty()


@pytest.mark.parametrize("body", ["<html></html>", "[]", '{"message": "no"}', '{"title": ""}'])
def test_an_error_without_a_title_is_named_by_its_status(
    page: Page, portrait: Path, expected_statuses: set[int], body: str
) -> None:
    expected_statuses.add(403)
    page.route("**/detect?*", lambda route: route.fulfill(status=403, body=body))
    choose(page, portrait)
    expect(page.get_by_role("alert")).to_have_text(
        f"{portrait.name}: The service answered 403 Forbidden."
    )


def test_the_key_is_asked_for_after_a_401_and_sent_from_then_on(
    open_page: OpenPage, guarded_service: str, portrait: Path, expected_statuses: set[int]
) -> None:
    expected_statuses.add(401)
    page = open_page(guarded_service)
    choose(page, portrait)
    key = page.get_by_label("This service asks for an API key")
    key.fill("wrong")
    key.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("That API key was not accepted.")
    key.fill("open-sesame")
    key.press("Enter")
    wait_for_result(page)
    expect(key).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize("unseen", ["\u200b", "\u00ad"])
def test_a_key_with_an_invisible_character_is_asked_for_again(
    open_page: OpenPage,
    guarded_service: str,
    portrait: Path,
    expected_statuses: set[int],
    unseen: str,
) -> None:
    expected_statuses.add(401)
    page = open_page(guarded_service)
    choose(page, portrait)
    key = page.get_by_label("This service asks for an API key")
    key.fill(f"open-{unseen}sesame")
    key.press("Enter")
    expect(key).to_be_visible()
    assert "characters that no key has" in key.evaluate("field => field.validationMessage")
    key.fill("open-sesame")
    key.press("Enter")
    wait_for_result(page)


def test_no_key_is_asked_for_where_none_is_needed(page: Page, portrait: Path) -> None:
    choose(page, portrait)
    wait_for_result(page)
    expect(page.locator("#key")).to_be_hidden()


def test_a_picture_over_the_limit_is_explained(
    open_page: OpenPage, guarded_service: str, portrait: Path, tmp_path: Path,
    expected_statuses: set[int],
) -> None:  # fmt: skip
    expected_statuses |= {401, 413}
    with Image.open(portrait) as image:
        image.save(tmp_path / "large.png")
    page = open_page(guarded_service)
    choose(page, portrait)
    key = page.get_by_label("This service asks for an API key")
    key.fill("open-sesame")
    key.press("Enter")
    wait_for_result(page)
    choose(page, tmp_path / "large.png")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Try a smaller picture.")
    expect(alert).to_contain_text("The request body is larger than 100 KB.")
