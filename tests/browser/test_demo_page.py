"""Everything that a visitor can do on the demo page, in Chromium. Failures: test_problems.py."""

import json
import re
import subprocess
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.demo import (
    answer_on,
    choose,
    drop,
    faces_in,
    faces_on,
    pixels_of_canvas,
    set_slider,
    shown_score,
    wait_for_frame,
    wait_for_result,
)

OpenPage = Callable[..., Page]
Detect = Callable[[bytes, float], Any]

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "connect-src 'self'",
    "media-src 'self' blob:",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
}


def test_a_dropped_photograph_shows_what_the_service_answers(
    page: Page, portrait: Path, detect: Detect, default_score: float
) -> None:
    drop(page, portrait)
    wait_for_result(page)
    assert shown_score(page) == pytest.approx(default_score, abs=0.005)
    expected = faces_in(detect(portrait.read_bytes(), shown_score(page)))
    assert len(expected) >= 1
    assert faces_on(page) == expected


def test_a_chosen_photograph_shows_what_the_service_answers(
    page: Page, portrait: Path, detect: Detect
) -> None:
    choose(page, portrait)
    wait_for_result(page)
    assert faces_on(page) == faces_in(detect(portrait.read_bytes(), shown_score(page)))


def test_a_pasted_photograph_shows_what_the_service_answers(
    open_page: OpenPage, portrait: Path, detect: Detect, tmp_path: Path
) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async () => {
            const bitmap = await createImageBitmap(await (await fetch("static/sample.jpg")).blob());
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
            canvas.getContext("2d").drawImage(bitmap, 0, 0);
            const png = await canvas.convertToBlob({type: "image/png"});
            await navigator.clipboard.write([new ClipboardItem({"image/png": png})]);
        }"""
    )
    page.keyboard.press("Control+v")
    wait_for_result(page)
    with Image.open(portrait) as image:
        image.save(tmp_path / "portrait.png")
    expected = faces_in(detect((tmp_path / "portrait.png").read_bytes(), shown_score(page)))
    assert [face.keys() for face in faces_on(page)] == [face.keys() for face in expected]
    for found, face in zip(faces_on(page), expected, strict=True):
        # Chromium's JPEG decoder may round differently from ours.
        assert found == pytest.approx(face, abs=1)


def test_faces_are_found_in_a_camera_frame(open_page: OpenPage) -> None:
    page = open_page(permissions=["camera"])
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator("#detail")).to_contain_text("camera.jpg")
    expect(page.locator("#status")).to_contain_text("found")
    image = answer_on(page)["image"]
    assert f"{image['width']} × {image['height']} px" in page.locator("#detail").inner_text()
    expect(page.locator("video")).to_be_hidden()
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_a_camera_asked_for_twice_is_opened_once_and_can_be_closed(open_page: OpenPage) -> None:
    page = open_page(permissions=["camera"])
    page.evaluate(
        """() => {
            const devices = navigator.mediaDevices, open = devices.getUserMedia.bind(devices);
            window.streams = [];
            devices.getUserMedia = async (wanted) => {
                const stream = await open(wanted);
                streams.push(stream);
                return stream;
            };
            const button = document.getElementById("camera-open");
            button.click();
            button.click();
        }"""
    )
    live = (
        "() => streams.flatMap((s) => s.getTracks()).filter((t) => t.readyState === 'live').length"
    )
    expect(page.locator("video")).to_be_visible()
    page.wait_for_function("streams.length === 2")
    page.wait_for_function(f"({live})() === 1")
    expect(page.get_by_role("alert")).to_be_empty()
    page.get_by_role("button", name="Close camera").click()
    expect(page.locator("video")).to_be_hidden()
    assert page.evaluate(live) == 0


def test_the_slider_filters_without_a_request(page: Page, portrait: Path, detect: Detect) -> None:
    choose(page, portrait)
    wait_for_result(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    counts = []
    for score in (0.05, 0.2, 0.5, 1):
        set_slider(page, score)
        expected = faces_in(detect(portrait.read_bytes(), score))
        expect(page.locator("#faces li")).to_have_count(len(expected))
        assert faces_on(page) == expected
        counts.append(len(expected))
    assert counts[0] > counts[-1]
    expect(page.locator("#status")).to_have_text("No faces found")
    assert requests == []


def test_blurring_changes_the_face_and_nothing_else(page: Page, portrait: Path) -> None:
    choose(page, portrait)
    wait_for_result(page)
    page.get_by_label("Draw boxes").uncheck()
    face = faces_on(page)[0]
    inner = (
        (face["x"] + face["width"] / 4) / 512,
        (face["y"] + face["height"] / 4) / 512,
        face["width"] / 2 / 512,
        face["height"] / 2 / 512,
    )
    corner = (0.7, 0.7, 0.25, 0.25)
    wait_for_frame(page)
    face_before, corner_before = pixels_of_canvas(page, *inner), pixels_of_canvas(page, *corner)
    page.get_by_label("Blur faces").check()
    wait_for_frame(page)
    face_after, corner_after = pixels_of_canvas(page, *inner), pixels_of_canvas(page, *corner)
    assert corner_after == corner_before
    differences = [abs(a - b) for a, b in zip(face_after, face_before, strict=True)]
    assert sum(differences) / len(differences) > 4
    page.get_by_label("Blur faces").uncheck()
    wait_for_frame(page)
    assert pixels_of_canvas(page, *inner) == face_before


def test_the_download_is_the_whole_picture_with_blurred_faces(
    page: Page, portrait: Path, tmp_path: Path
) -> None:
    choose(page, portrait)
    wait_for_result(page)
    page.get_by_label("Draw boxes").uncheck()
    page.get_by_label("Blur faces").check()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "sample-faces.jpeg"
    saved = tmp_path / "saved.jpg"
    download.value.save_as(saved)
    face = faces_on(page)[0]
    box = (face["x"], face["y"], face["x"] + face["width"], face["y"] + face["height"])
    with Image.open(saved) as after, Image.open(portrait) as before:
        assert after.size == before.size
        change = ImageChops.difference(after.convert("L"), before.convert("L"))
        assert mean(change.crop(box)) > 5 * mean(change.crop((350, 350, 512, 512)))


def test_nothing_is_downloaded_unblurred_before_the_faces_are_known(
    page: Page, portrait: Path
) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/detect?*", hold)
    page.get_by_label("Blur faces").check()
    with page.expect_request("**/detect?*"):
        choose(page, portrait)
    expect(page.locator("#canvas")).to_be_visible()
    wait_for_frame(page)
    download = page.get_by_role("button", name="Download")
    expect(download).to_be_disabled()
    assert len(held) == 1
    held[0].continue_()
    expect(download).to_be_enabled()


def mean(image: Image.Image) -> float:
    histogram = image.histogram()
    return sum(value * count for value, count in enumerate(histogram)) / sum(histogram)


def test_a_picture_with_an_orientation_tag_stands_upright(
    page: Page, sideways_portrait: Path, detect: Detect
) -> None:
    choose(page, sideways_portrait)
    wait_for_result(page)
    answer = detect(sideways_portrait.read_bytes(), shown_score(page))
    assert answer["image"] == {"width": 300, "height": 512}
    assert faces_on(page) == faces_in(answer)
    shown = page.locator("#canvas").bounding_box()
    assert shown is not None
    assert shown["width"] / shown["height"] == pytest.approx(300 / 512, rel=0.01)


def test_several_photographs_can_be_paged_through(
    page: Page, portrait: Path, empty_picture: Path
) -> None:
    choose(page, portrait, empty_picture)
    wait_for_result(page)
    page.get_by_role("button", name="gray.png: 0 faces").click()
    expect(page.locator("#status")).to_have_text("No faces found")
    page.get_by_role("button", name=re.compile("sample.jpg: [1-9]")).click()
    wait_for_result(page)


def test_paging_by_keyboard_keeps_the_focus(
    page: Page, portrait: Path, empty_picture: Path
) -> None:
    choose(page, portrait, empty_picture)
    wait_for_result(page)
    second = page.get_by_role("button", name="gray.png: 0 faces")
    second.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("No faces found")
    expect(second).to_be_focused()
    # Also while the page is redrawn.
    page.get_by_label("Draw boxes").evaluate("box => box.click()")
    wait_for_frame(page)
    expect(second).to_be_focused()
    expect(second).to_have_attribute("aria-current", "true")


def test_a_picture_without_faces_says_so(page: Page, empty_picture: Path) -> None:
    choose(page, empty_picture)
    expect(page.locator("#status")).to_have_text("No faces found")
    expect(page.locator("#faces li")).to_have_count(0)


def test_the_stage_times_are_those_of_the_answer(page: Page, portrait: Path) -> None:
    choose(page, portrait)
    wait_for_result(page)
    timings = answer_on(page)["timings_ms"]
    for stage in timings.keys() - {"total"}:
        row = page.locator("#times div").filter(has_text=stage)
        expect(row.locator("dd")).to_have_text(shown_time(timings[stage]))
    total = timings["total"]
    expect(page.locator("#times-total")).to_have_text(shown_time(total))
    bar = page.locator("#times-bar").bounding_box()
    part = page.locator("#times-bar i[data-stage='4']").bounding_box()
    assert bar is not None
    assert part is not None
    assert part["width"] / bar["width"] == pytest.approx(timings["inference"] / total, abs=0.1)


def shown_time(milliseconds: float) -> str:
    # JavaScript's toFixed rounds a tie up (ECMA-262, section 21.1.3.3), Python's format to even.
    digit = Decimal("0.1") if milliseconds < 99.95 else Decimal(1)
    return f"{Decimal(milliseconds).quantize(digit, ROUND_HALF_UP)} ms"


def test_the_picture_is_sharp_on_a_dense_screen(open_page: OpenPage, portrait: Path) -> None:
    page = open_page(device_scale_factor=2)
    choose(page, portrait)
    wait_for_result(page)
    shown = page.locator("#canvas").bounding_box()
    assert shown is not None
    assert page.locator("#canvas").evaluate("canvas => canvas.width") == 2 * shown["width"]


def test_the_curl_line_is_the_request_for_the_shown_answer(
    page: Page, portrait: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "it's me.jpg"
    renamed.write_bytes(portrait.read_bytes())
    choose(page, renamed)
    wait_for_result(page)
    page.locator("summary").click()
    line = page.locator("#curl").inner_text()
    done = subprocess.run(
        ["bash", "-c", f"{line} --silent"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    shown = json.loads(page.locator("#json").inner_text())
    assert json.loads(done.stdout)["faces"] == shown["faces"]


def test_small_faces_are_searched_for_on_request(page: Page, portrait: Path) -> None:
    choose(page, portrait)
    wait_for_result(page)
    with page.expect_request("**/detect?*tiles=auto*"):
        page.get_by_label("Search for small faces").check()
    wait_for_result(page)
    page.locator("summary").click()
    expect(page.locator("#curl")).to_contain_text("tiles=auto")


def test_blurring_shows_a_warning_and_offers_a_lower_score(page: Page, portrait: Path) -> None:
    choose(page, portrait)
    wait_for_result(page)
    warning = page.get_by_text("Faces that are not found stay visible")
    expect(warning).to_be_hidden()
    page.get_by_label("Blur faces").check()
    expect(warning).to_be_visible()
    page.get_by_role("button", name="Use a lower score").click()
    expect(page.locator("#score-value")).to_have_text("0.30")
    expect(page.get_by_role("button", name="Use a lower score")).to_be_hidden()


def with_two_models(page: Page) -> tuple[Locator, list[str]]:
    """The list of models, to which one is added under another name, and the names asked for."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        models = httpx.get(route.request.url).json()["models"]
        route.fulfill(json={"models": [*models, {**models[0], "name": "other", "default": False}]})

    def note(route: Route) -> None:
        asked.append(route.request.url.partition("model=")[2])
        route.continue_(url=route.request.url.replace("model=other", "nms_iou=0.3"))

    page.route("**/models", answer)
    page.route("**/detect?*", note)
    page.reload()
    picker = page.get_by_label("Model", exact=True)
    expect(picker).to_be_visible()
    return picker, asked


def test_the_models_can_be_chosen_where_there_are_several(page: Page, portrait: Path) -> None:
    picker, asked = with_two_models(page)
    choose(page, portrait)
    wait_for_result(page)
    with page.expect_response("**/detect?*"):
        picker.select_option("other")
    wait_for_result(page)
    assert asked == ["sfd-640-mobilenetv2-mod2", "other"]


def test_a_model_chosen_while_pictures_wait_is_used_for_all(
    page: Page, portrait: Path, tmp_path: Path
) -> None:
    picker, asked = with_two_models(page)
    copies = [tmp_path / f"{number}.jpg" for number in range(8)]
    for copy in copies:
        copy.write_bytes(portrait.read_bytes())
    choose(page, *copies)
    picker.select_option("other")
    for number in range(8):
        expect(page.get_by_role("button", name=f"{number}.jpg: 1 face")).to_be_visible()
    assert asked.count("other") == 8


def test_the_page_is_served_with_a_strict_policy(service: str) -> None:
    response = httpx.get(service)
    policy = response.headers["Content-Security-Policy"]
    assert {directive.strip() for directive in policy.split(";") if directive.strip()} == POLICY


@pytest.mark.parametrize("source", sorted({"sample.jpg", "app.js", "style.css", "favicon.svg"}))
def test_assets_are_served_under_static(service: str, source: str) -> None:
    response = httpx.get(f"{service}/static/{source}")
    assert response.status_code == 200
    assert response.headers["X-Content-Type-Options"] == "nosniff"
