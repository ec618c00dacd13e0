"""The pages for operators are complete, and their links work."""

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Route

import service.routes
from service.compat import all_apis

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
READMES = [ROOT / "examples/README.md", ROOT / "fuzzing/README.md"]
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DECISIONS, *READMES])
LINKS = [
    (page, target)
    for page in PAGES
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    if not re.match(r"[a-z]+:", target)
]


def _page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def _anchors(page: Path) -> set[str]:
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generated_tables_are_up_to_date() -> None:
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"run `python docs/generate.py`\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(("page", "target"), LINKS, ids=lambda value: getattr(value, "name", value))
def test_every_link_leads_to_an_existing_page_and_heading(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    found = (page.parent / path) if path else page
    assert found.exists()
    assert not anchor or anchor in _anchors(found)


def test_the_contents_list_every_page() -> None:
    listed = set(re.findall(r"\((\w+\.md)\)", _page("README.md")))
    assert listed == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


def test_contents_list_every_decision_by_its_title() -> None:
    listed = re.findall(r"^- \[(.+)\]\(decisions/(.+)\)$", _page("README.md"), re.MULTILINE)
    found = []
    for number, page in enumerate(DECISIONS, 1):
        head, *lines = page.read_text("utf-8").splitlines()
        sections = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
        assert sections == ["Context", "Decision", "Consequences"], page
        assert len(lines) < 40, page
        assert page.name.startswith(f"{number:04}-")
        found.append((head.removeprefix(f"# {number}. "), page.name))
    assert listed == found


FOLDERS = ("convert", "detection", "docker", "docs", "requirements", "service", "training",
           "tests/convert", "tests/detection", "tests/observability", "tests/service")  # fmt: skip
NAMED = sorted(
    path
    for path in re.findall(r"`([\w./]+)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    if path.startswith(FOLDERS) and "NAME" not in path
)


@pytest.mark.parametrize("path", NAMED)
def test_every_file_named_in_contributing_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_alert_has_its_paragraph_with_check_and_fix() -> None:
    rules = yaml.safe_load((ROOT / "docker/prometheus/rules/alerts.yml").read_text("utf-8"))
    runbook = _page("runbook.md")
    for rule in rules["groups"][0]["rules"]:
        paragraph = runbook.partition(f"## {rule['alert']}\n")[2].partition("\n## ")[0]
        assert f"**{rule['labels']['severity']}" in paragraph, rule["alert"]
        assert "*Check" in paragraph, rule["alert"]
        assert re.search(r"\*[Ff]ix\b", paragraph), rule["alert"]


def test_every_variable_of_the_compose_file_is_explained() -> None:
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    for variable in set(re.findall(r"\$\{(\w+)", compose)):
        assert f"`{variable}`" in _page("deployment.md"), variable


def test_every_endpoint_is_listed() -> None:
    routes = {
        f"{method} {route.path}"
        for module in pkgutil.iter_modules(service.routes.__path__)
        for route in _router(f"service.routes.{module.name}").routes
        if isinstance(route, Route) and "." not in route.path.removesuffix(".json")
        for method in (route.methods or set()) - {"HEAD"}
    }
    routes |= {
        f"POST {route.path}"
        for api in all_apis()
        for route in api.router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
    }
    missing = {route for route in routes if f"`{route}`" not in _page("api.md")}
    assert routes
    assert not missing


def _router(module: str) -> APIRouter:
    router: APIRouter = getattr(importlib.import_module(module), "router", None) or APIRouter()
    return router
