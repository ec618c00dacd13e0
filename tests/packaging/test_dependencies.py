"""Our packages import only what pyproject.toml declares."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

EXTRAS = {
    "benchmarks": ("models", "detect", "evaluate", "verify", "bench", "ray"),
    "convert": ("verify",),
    "detection": ("detect", "bulk", "ray"),
    "geometry": (),
    "quantization": ("detect",),
    "service": ("service", "grpc", "otel", "ray"),
    "sfd": (),
    "store": ("models",),
    "training": ("train", "evaluate"),
}
"""The extras whose packages each of our packages may import."""

LOCKED = {"benchmarks": "corruptions"}
"""Packages that may also import what a file of requirements/ adds, for those who measure."""


@cache
def distributions() -> dict[str, str]:
    """The distributions that install a module. A function, because it reads the data of all."""
    found = {top: names[0].lower() for top, names in packages_distributions().items()}
    return found | {
        # several distributions share these two; the SDK brings OpenTelemetry's others
        "google": "protobuf",
        "opentelemetry": "opentelemetry-sdk",
        # not in every environment
        "imagecorruptions": "imagecorruptions-imaug",
        "ray": "ray",
        "torch": "torch",
    }


PEERS = {
    re.split(r"[<>=]", line)[0]
    for path in (ROOT / "requirements/peers").glob("*.in")
    for line in path.read_text("utf-8").splitlines()
    if line[:1].isalpha()
}
"""Servers that the benchmarks compare. Each has an environment of its own, and no extra."""


def name_of(requirement: str) -> str:
    """`opencv-python-headless` of `opencv-python-headless>=4.10,<5`."""
    return re.split(r"[\[<>=; ]", requirement)[0]


def declared(extras: Iterable[str]) -> set[str]:
    """The distributions that an installation with these extras has."""
    names = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    waiting = list(extras)
    while waiting:
        for requirement in PROJECT["optional-dependencies"][waiting.pop()]:
            if name_of(requirement) == "sfd":
                waiting += re.findall(r"\[(.*)\]", requirement)[0].split(",")
            else:
                names.add(name_of(requirement))
    return names


def imported(package: str) -> dict[str, set[str]]:
    """The distributions that a package imports, each with the modules that do."""
    found: dict[str, set[str]] = {}
    for path, top in imports(package):
        # typeshed is for type checkers alone.
        if top in {*sys.stdlib_module_names, *PACKAGES, "_typeshed"}:
            continue
        name = distributions().get(top, top).replace("_", "-")
        found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def imports(package: str) -> Iterator[tuple[Path, str]]:
    """Each import in a package: the module that has it, and the imported top-level name."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Import():
                    modules = [alias.name for alias in node.names]
                case ast.ImportFrom(level=0, module=str(module)):
                    modules = [module]
                case _:
                    continue
            for module in modules:
                yield path, module.partition(".")[0]


def test_every_package_of_the_checkout_is_in_the_wheel_the_image_and_this_test() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert set(PACKAGES) == folders
    assert set(EXTRAS) == folders
    assert {f"!{name}" for name in folders} <= set(
        (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    )


def test_no_packages_import_each_other_in_a_circle() -> None:
    below = {
        package: {top for _, top in imports(package) if top in PACKAGES} - {package}
        for package in PACKAGES
    }
    # Raises CycleError, which names the packages of a circle.
    order = list(TopologicalSorter(below).static_order())
    assert set(order) == set(PACKAGES)
    assert below["quantization"] >= {"convert", "detection", "store"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_its_extras_declare(package: str) -> None:
    allowed = declared(EXTRAS[package])
    if package in LOCKED:
        lines = (ROOT / f"requirements/{LOCKED[package]}.in").read_text("utf-8").splitlines()
        allowed |= {name_of(line) for line in lines if not line.startswith("#")}
    if package == "benchmarks":
        allowed |= PEERS
    undeclared = {name: paths for name, paths in imported(package).items() if name not in allowed}
    assert not undeclared


def test_every_declared_package_is_imported() -> None:
    used = {name for package in PACKAGES for name in imported(package)}
    assert declared(("models", "service")) <= used


def test_the_image_has_what_the_service_imports() -> None:
    listed = {
        name_of(line)
        for file in ("http.in", "service.in")
        for line in (ROOT / "requirements" / file).read_text("utf-8").splitlines()
        if line and not line.startswith(("#", "-"))
    }
    packages = [name for name, extras in EXTRAS.items() if "service" in extras]
    used = {name for package in (*packages, "geometry", "sfd") for name in imported(package)}
    # The image sends traces only if its user adds the SDK (docs/tracing.md), and runs on a cluster
    # only if its user adds Ray (docs/scaling.md).
    assert used - {"opentelemetry-sdk", "ray"} <= listed


def test_the_install_page_names_every_extra_and_the_version() -> None:
    page = (ROOT / "docs/install.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(PROJECT["optional-dependencies"])
    for text in (page, (ROOT / "README.md").read_text("utf-8")):
        assert set(re.findall(r"sfd-([\d.]+)-py3", text)) == {PROJECT["version"]}
