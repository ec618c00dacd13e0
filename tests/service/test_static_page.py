"""The demo page's files are consistent and use no other host. Needs no Chromium."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[2] / "service" / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))
TEXTS = [*SCRIPTS, *sorted(STATIC.glob("*.css")), STATIC / "index.html"]


class Elements(HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def elements() -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed((STATIC / "index.html").read_text("utf-8"))
    return parser.found


@pytest.fixture(scope="module")
def identities(elements: list[tuple[str, dict[str, str | None]]]) -> list[str]:
    return [attributes["id"] or "" for _, attributes in elements if "id" in attributes]


def test_the_page_has_nothing_inline_that_the_policy_forbids(
    elements: list[tuple[str, dict[str, str | None]]],
) -> None:
    for tag, attributes in elements:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert not {name for name in attributes if name == "style" or name.startswith("on")}


def test_the_files_that_the_page_refers_to_exist(
    elements: list[tuple[str, dict[str, str | None]]],
) -> None:
    addresses = [a.get("src") or a.get("href") for t, a in elements if t != "a"]
    assets = [address for address in addresses if address]
    assert len(assets) >= 5
    for address in assets:
        assert address.startswith("static/")
        assert (STATIC / address.removeprefix("static/")).is_file()


def test_ids_are_unique_and_labels_refer_to_existing_ones(
    elements: list[tuple[str, dict[str, str | None]]], identities: list[str]
) -> None:
    assert len(set(identities)) == len(identities)
    for _, attributes in elements:
        for name in ("for", "aria-labelledby"):
            assert attributes.get(name) is None or attributes[name] in identities


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_uses_only_elements_and_modules_that_exist(
    script: Path, identities: list[str]
) -> None:
    source = script.read_text("utf-8")
    for identity in re.findall(r'(?:getElementById|element)\("([^"]+)"\)', source):
        assert identity in identities
    for module, names in [
        (module, names)
        for names, module in re.findall(r'import \{([^}]+)\} from "([^"]+)"', source)
    ]:
        exported = (STATIC / module).read_text("utf-8")
        for name in (part.strip() for part in names.split(",") if part.strip()):
            assert re.search(rf"^export (async )?(function|class|const) {name}\b", exported, re.M)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_nothing_is_fetched_from_another_host(text: Path) -> None:
    assert not re.search(r"https?://|//[a-z]+\.[a-z]+/", text.read_text("utf-8"))


def test_colours_are_defined_only_in_the_theme() -> None:
    style = (STATIC / "style.css").read_text("utf-8")
    theme = (STATIC / "theme.css").read_text("utf-8")
    assert not re.findall(r"#[0-9a-f]{3,8}\b(?=[;\s])", style)
    used = set(re.findall(r"var\((--[a-z0-9-]+)", style))
    assert used <= set(re.findall(r"(--[a-z0-9-]+):", style + theme))
