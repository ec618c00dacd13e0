"""Uses the demo page as a visitor does, and reads what it shows."""

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect


def faces_on(page: Page) -> list[dict[str, float]]:
    """The boxes and scores as the page lists them."""
    listed: list[dict[str, str]] = page.locator("#faces li").evaluate_all(
        "items => items.map(({dataset}) => ({...dataset}))"
    )
    return [{name: float(value) for name, value in face.items()} for face in listed]


def answer_on(page: Page) -> Any:
    """The answer of POST /detect as the page shows it."""
    return json.loads(page.locator("#json").text_content() or "")


def faces_in(answer: Any) -> list[dict[str, float]]:
    return [{**face["box"], "score": face["score"]} for face in answer["faces"]]


def drop(page: Page, *paths: Path) -> None:
    """Drag files over the page and drop them, as from a file manager."""
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send(
            "Input.dispatchDragEvent",
            {
                "type": kind,
                "x": 300,
                "y": 300,
                "data": {"items": [], "files": [str(p) for p in paths], "dragOperationsMask": 1},
            },
        )


def choose(page: Page, *paths: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose photos").click()
    chooser.value.set_files(paths)


def wait_for_result(page: Page) -> None:
    expect(page.locator("#status")).to_have_text(re.compile(r"^\d+ faces? found$"))


def wait_for_frame(page: Page) -> None:
    """The page draws in the frame after a change, so wait for two frames."""
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")


def set_slider(page: Page, score: float) -> None:
    page.locator("#score").fill(f"{score:.2f}")


def shown_score(page: Page) -> float:
    return float(page.locator("#score").input_value())


def pixels_of_canvas(page: Page, x: float, y: float, width: float, height: float) -> list[int]:
    """RGBA of a part of the canvas; the part in fractions of the canvas."""
    values: list[int] = page.locator("#canvas").evaluate(
        """(canvas, [x, y, width, height]) => {
            const copy = new OffscreenCanvas(width * canvas.width, height * canvas.height);
            const context = copy.getContext("2d", {willReadFrequently: true});
            context.drawImage(canvas, -x * canvas.width, -y * canvas.height);
            return [...context.getImageData(0, 0, copy.width, copy.height).data];
        }""",
        [x, y, width, height],
    )
    return values
