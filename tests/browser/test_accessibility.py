"""The demo page by keyboard, on a phone, and checked by axe-core."""

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]
Scheme = Literal["light", "dark"]

FOUND = re.compile(r"^\d+ faces? found$")
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def violations(page: Page) -> list[str]:
    page.evaluate(AXE)
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found: list[dict[str, Any]] = page.evaluate(
        "async rules => (await axe.run(document, {runOnly: rules})).violations", rules
    )
    return [
        f"{rule['id']}: {rule['help']}: {node['html']}" for rule in found for node in rule["nodes"]
    ]


def try_the_sample(page: Page) -> None:
    page.get_by_role("button", name="Try a sample").click()
    expect(page.locator("#status")).to_have_text(FOUND)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_before_and_after_a_result(open_page: OpenPage, scheme: Scheme) -> None:
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    assert violations(page) == []
    try_the_sample(page)
    page.locator("summary").click()
    assert violations(page) == []


def test_axe_finds_nothing_in_a_problem(open_page: OpenPage, expected_statuses: set[int]) -> None:
    expected_statuses.add(0)
    page = open_page()
    page.route("**/detect?*", lambda route: route.abort())
    page.get_by_role("button", name="Try a sample").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert violations(page) == []


def tab_to(page: Page, wanted: str) -> None:
    """Press Tab until the element with this id has the focus; every stop must show it."""
    for _ in range(30):
        page.keyboard.press("Tab")
        identity, outlined = page.evaluate(
            """() => {
                const focused = document.activeElement;
                const shown = focused.id === "file" ? document.getElementById("choose") : focused;
                return [focused.id, getComputedStyle(shown).outlineStyle !== "none"];
            }"""
        )
        assert outlined, f"the focus on #{identity} cannot be seen"
        if identity == wanted:
            return
    pytest.fail(f"Tab never reaches #{wanted}")


def test_everything_works_by_keyboard(page: Page) -> None:
    with page.expect_file_chooser():
        tab_to(page, "file")
        page.keyboard.press("Enter")
    tab_to(page, "sample")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text(FOUND)
    tab_to(page, "score")
    page.keyboard.press("End")
    expect(page.locator("#status")).to_have_text("No faces found")
    page.keyboard.press("Home")
    expect(page.locator("#faces li").first).to_be_visible()
    tab_to(page, "blur")
    page.keyboard.press("Space")
    assert page.get_by_label("Blur faces").is_checked()
    tab_to(page, "faces-scroll")


def test_the_result_is_announced(page: Page) -> None:
    status = page.get_by_role("status").filter(has_text="No picture yet")
    expect(status).to_be_visible()
    try_the_sample(page)
    expect(page.get_by_role("status").filter(has_text=FOUND)).to_be_visible()
    expect(
        page.get_by_role("img", name=re.compile(r"sample\.jpg: \d+ faces? found"))
    ).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="Face 1 ")).to_contain_text("score 0.9")


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_needs_no_sideways_scrolling(open_page: OpenPage, width: int) -> None:
    page = open_page(width=width, height=800, is_mobile=True, has_touch=True)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    try_the_sample(page)
    page.locator("summary").click()
    assert page.evaluate(overflow) == 0


def test_motion_is_left_out_on_request(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    page.locator("#busy").evaluate("busy => { busy.hidden = false; }")
    assert page.locator("#busy").evaluate("b => getComputedStyle(b).animationName") == "none"


def test_a_long_list_of_faces_scrolls_in_its_own_box(page: Page) -> None:
    try_the_sample(page)
    height = "document.documentElement.scrollHeight"
    before = page.evaluate(height)
    page.locator("#score").press("Home")
    expect(page.locator("#faces li").nth(20)).to_be_attached()
    # The list grows to its full height, some 17 lines of text, and no further.
    assert page.evaluate(height) - before < 300
