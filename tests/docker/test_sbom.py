"""The image's software bill of materials is complete."""

import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., str]
LIST_INSTALLED = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
)


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "docker/sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the script


def test_every_package_of_the_lock_has_its_hashes(sbom: ModuleType) -> None:
    text = (ROOT / "requirements/service.txt").read_text("utf-8")
    found = sbom.locked_hashes(text)
    assert len(found) == text.count("==") - text.count(" == ") > 20
    assert all(found.values())
    assert sum(map(len, found.values())) == text.count("--hash=sha256:")


def component(**members: Any) -> dict[str, Any]:
    hashed = {"comment": "", "hashes": [{"alg": "SHA-256", "content": "0" * 64}]}
    whole = {
        "bom-ref": "some-name==1",
        "name": "some-name",
        "version": "1",
        "licenses": [{"license": {"id": "MIT"}}],
        "externalReferences": [hashed],
    }
    return whole | members


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({}, None),
        ({"name": "Other"}, "Some_Name 1 is installed, but not in the list"),
        ({"version": "2"}, "Some_Name is 1, but 2 in the list"),
        ({"licenses": []}, "Some_Name has no licence"),
        ({"externalReferences": []}, "Some_Name 1 has no hash: is it in the lock?"),
    ],
)
def test_a_list_that_is_not_complete_is_refused(
    sbom: ModuleType, members: dict[str, Any], problem: str | None
) -> None:
    found = list(sbom.problems([component(**members)], {"Some_Name": ("1", "")}, "sfd"))
    assert found == ([problem] if problem else [])


def test_debian_packages_are_listed_if_they_are_installed(sbom: ModuleType, tmp_path: Path) -> None:
    status = (
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.36-9\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    )
    (tmp_path / "libc6").mkdir()
    (tmp_path / "libc6/copyright").write_text("License: LGPL-2.1\n text\nLicense: GPL-2\n")
    (found,) = sbom.debian_packages(status, tmp_path)
    assert found["purl"] == "pkg:deb/debian/libc6@1%3A2.36-9?arch=amd64"
    assert [each["license"]["name"] for each in found["licenses"]] == ["LGPL-2.1", "GPL-2"]


# --- the image


@pytest.fixture(scope="module")
def listed(image: str, run: Run) -> dict[str, Any]:
    text = run("docker", "run", "--rm", "--entrypoint", "cat", image, "/opt/sbom.cdx.json")
    found: dict[str, Any] = json.loads(text)
    return found


def test_every_package_of_the_image_is_listed_with_version_licence_and_hashes(
    listed: dict[str, Any], image: str, run: Run, sbom: ModuleType
) -> None:
    command = ["docker", "run", "--rm", "--entrypoint", "python", image, "-c", LIST_INSTALLED]
    installed = {sbom.normal(name): version for name, version in json.loads(run(*command)).items()}
    components = {
        sbom.normal(each["name"]): each
        for each in listed["components"]
        if each["bom-ref"].partition(":")[0] not in ("deb", "model", "python")
    }
    assert {name: each["version"] for name, each in components.items()} == installed
    assert all(each["licenses"] for each in components.values())
    hashes = sbom.locked_hashes((ROOT / "requirements/service.txt").read_text("utf-8"))
    for name, each in components.items():
        if name != "sfd":
            references = each["externalReferences"]
            given = {h["content"] for one in references for h in one.get("hashes", ())}
            assert set(hashes[name, each["version"]]) <= given, name


def test_every_debian_package_of_the_image_is_listed(
    listed: dict[str, Any], image: str, run: Run
) -> None:
    query = ["dpkg-query", image, "--show", "--showformat", "${Package} ${Version}\\n"]
    installed = run("docker", "run", "--rm", "--entrypoint", *query).splitlines()
    debian = [each for each in listed["components"] if each["bom-ref"].startswith("deb:")]
    assert {f"{each['name']} {each['version']}" for each in debian} == set(installed)
    assert len(installed) > 20


def test_python_and_every_model_of_the_image_are_listed(
    listed: dict[str, Any], image: str, run: Run
) -> None:
    by_kind = {each["bom-ref"]: each for each in listed["components"]}
    command = ["docker", "run", "--rm", "--entrypoint", "python", image, "-c"]
    version = run(*command, "import platform; print(platform.python_version())")
    assert by_kind["python:cpython"]["version"] == version
    read = (
        "import hashlib, pathlib; "
        "[print(p.parent.name, p.name, hashlib.sha256(p.read_bytes()).hexdigest())"
        " for p in pathlib.Path('/models').glob('*/*.onnx')]"
    )
    stored = {tuple(line.split()) for line in run(*command, read).splitlines()}
    assert {file for _, file, _ in stored} >= {"model.onnx", "model.cpu.onnx"}
    assert {
        (model["name"], file, part["hashes"][0]["content"])
        for ref, model in by_kind.items()
        if ref.startswith("model:")
        for file, part in [
            ("model.onnx", model),
            *((part["name"], part) for part in model["components"]),
        ]
    } == stored


def test_the_hash_of_a_model_is_that_of_its_file(
    sbom: ModuleType, write_small_model: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = write_small_model(tmp_path)
    (folder / "model.cpu.onnx").write_bytes(b"in parts")
    (found,) = sbom.models(tmp_path)
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert found["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert found["version"] == "7"
    (part,) = found["components"]
    digest = hashlib.sha256(b"in parts").hexdigest()
    assert (part["name"], part["hashes"][0]["content"]) == ("model.cpu.onnx", digest)
