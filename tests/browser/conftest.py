"""A real Chromium in front of the real service with the real default model."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from store.model import load

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "service" / "static"
RunningService = Callable[..., AbstractContextManager[str]]

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox",  # containers run the tests as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser(missing: Callable[[str], NoReturn]) -> Iterator[Browser]:
    """Chromium, ended with the module: Playwright's event loop would be in the way of others."""
    found = [path for name in CHROMIUM_NAMES if (path := shutil.which(name))]
    if not found:
        missing("Chromium is not installed (Debian: apt-get install chromium)")
    expect.set_options(timeout=20_000)  # a busy machine with two cores
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found[0], args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


# Set, because measuring what is fastest takes as long as several tests.
FIXED = {"WORKERS": "1", "MAX_BATCH": "1"}


@pytest.fixture(scope="session")
def service(running_service: RunningService) -> Iterator[str]:
    with running_service(**FIXED) as address:
        yield address


@pytest.fixture(scope="session")
def guarded_service(running_service: RunningService) -> Iterator[str]:
    """A service that asks for the key "open-sesame" and takes at most 100 kB."""
    with running_service(API_KEYS="open-sesame", MAX_BYTES="100000", **FIXED) as address:
        yield address


@pytest.fixture
def expected_statuses() -> set[int]:
    """HTTP statuses that a test provokes, which Chromium's console may show. 0: no answer."""
    return set()


@pytest.fixture(scope="module")
def usual_page(browser: Browser) -> Iterator[Page]:
    """A page that the tests of a module load one after the other.

    A new profile for each test would take twice the processor time.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture
def open_page(
    browser: Browser, usual_page: Page, service: str, expected_statuses: set[int]
) -> Iterator[Callable[..., Page]]:
    """Open the demo page: open_page(address, width=…, color_scheme=…, …).

    Without arguments it is the usual page, loaded again and without what it had stored; otherwise
    it opens in a fresh profile.

    Afterwards the test fails on any console error (Chromium reports violations of the content
    security policy there), any uncaught exception and any request to another host.
    """
    contexts: list[BrowserContext] = []
    opened: list[Page] = []
    complaints: list[str] = []
    addresses = [service]

    def hear(message: ConsoleMessage) -> None:
        status = re.search(r"responded with a status of (\d+)|net::(ERR)_", message.text)
        provoked = status and int(status[1] or 0) in expected_statuses
        if message.type in ("error", "warning") and not provoked:
            complaints.append(message.text)

    def hear_error(error: Error) -> None:
        complaints.append(str(error))

    def check_host(request: Request) -> None:
        if not request.url.startswith((*addresses, "blob:", "data:")):
            complaints.append(f"a request to {request.url}")

    def new_page(width: int, height: int, **options: Any) -> Page:
        viewport: ViewportSize = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=viewport, **options))
        return contexts[-1].new_page()

    def open_(
        address: str = service, *, width: int = 1280, height: int = 900, **options: Any
    ) -> Page:
        is_usual = (address, width, height, options) == (service, 1280, 900, {})
        page = usual_page if is_usual else new_page(width, height, **options)
        addresses[:] = [address]
        page.set_default_timeout(20_000)
        page.on("console", hear)
        page.on("pageerror", hear_error)
        page.on("request", check_host)
        opened.append(page)
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    if usual_page in opened:
        try:
            usual_page.unroute_all(behavior="ignoreErrors")
            # The answer comes after all messages of the console so far.
            usual_page.evaluate("localStorage.clear(), sessionStorage.clear()")
        finally:
            usual_page.remove_listener("console", hear)
            usual_page.remove_listener("pageerror", hear_error)
            usual_page.remove_listener("request", check_host)
    assert complaints == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    opened: Page = open_page()
    return opened


@pytest.fixture
def detect(service: str) -> Callable[[bytes, float], Any]:
    """The answer of POST /detect for an image's bytes and a minimum score."""

    def detect_(picture: bytes, min_score: float) -> Any:
        response = httpx.post(
            f"{service}/detect",
            params={"min_score": min_score},
            content=picture,
            headers={"Content-Type": "application/octet-stream"},
            timeout=60,
        )
        assert response.status_code == 200, response.text
        return response.json()

    return detect_


@pytest.fixture(scope="session")
def portrait() -> Path:
    """The bundled sample: one face."""
    return STATIC / "sample.jpg"


@pytest.fixture(scope="session")
def sideways_portrait(portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The right half of the sample, stored rotated, with the EXIF tag that turns it upright."""
    path = tmp_path_factory.mktemp("pictures") / "sideways.jpg"
    with Image.open(portrait) as image:
        upright = image.crop((100, 0, 400, 512))
    exif = Image.Exif()
    exif[0x0112] = 6  # show rotated by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)
    return path


@pytest.fixture(scope="session")
def empty_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "gray.png"
    Image.new("RGB", (320, 240), (128, 128, 128)).save(path)
    return path


@pytest.fixture(scope="session")
def default_score() -> float:
    """Of the default model, as its own file says."""
    return load(ROOT / "model_store" / "sfd-640-mobilenetv2-mod2").thresholds.default_score
