"""The picture of the demo page that the README shows.

Take it again with `SFD_SCREENSHOT=docs/screenshot.png pytest tests/browser/test_screenshot.py`; the
one in docs/ was taken where Debian's fonts-inter is installed.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect


def test_a_screenshot_for_the_readme_stays_small(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    page = open_page(width=1180, height=780, color_scheme="dark")
    page.get_by_role("button", name="Try a sample").click()
    expect(page.locator("#status")).to_contain_text("found")
    page.mouse.move(0, 0)
    target = Path(os.environ.get("SFD_SCREENSHOT", tmp_path / "screenshot.png"))
    with Image.open(io.BytesIO(page.screenshot())) as image:
        # 256 colours, dithered: a third of the bytes, and no difference at the README's size.
        image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT).save(target, optimize=True)
    assert target.stat().st_size <= 300_000
