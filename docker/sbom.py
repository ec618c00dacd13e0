"""Write the image's software bill of materials as CycloneDX JSON, and fail if it is not complete.

    python docker/sbom.py --environment /opt/venv/bin/python --lock requirements/service.txt \
        --dpkg /var/lib/dpkg/status --models /models --output sbom.cdx.json

cyclonedx-py lists the Python packages with their versions and licences. This adds the hashes of the
files that the lock allows, Python itself, Debian's packages, and the models. The Dockerfile runs it
with the packages of requirements/sbom.txt.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SPEC = "1.6"
PROBE = """
import importlib.metadata as m, json, platform
found = {d.metadata["Name"]: [d.version, d.metadata.get("License", "")] for d in m.distributions()}
print(json.dumps({"packages": found, "python": platform.python_version()}))
"""
"""Run by the environment's Python: what is installed, as its own metadata says."""

Component = dict[str, Any]
Installed = Mapping[str, Sequence[str]]
"""The version and the stated licence of each installed package."""


def normal(name: str) -> str:
    """A package's name in the one form in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_hashes(lock: str) -> dict[tuple[str, str], list[str]]:
    """The SHA-256 hashes of a lock by name and version."""
    found: dict[tuple[str, str], list[str]] = {}
    current: list[str] = []
    for line in lock.splitlines():
        if pinned := re.match(r"([\w.-]+)==([^\s;]+)", line):
            current = found.setdefault((normal(pinned[1]), pinned[2]), [])
        elif hashed := re.match(r"\s+--hash=sha256:([0-9a-f]{64})", line):
            current.append(hashed[1])
    return found


def add_hashes(component: Component, hashes: Mapping[tuple[str, str], list[str]]) -> None:
    """Name the files that the lock allows for a package: one of them is installed."""
    allowed = hashes.get((normal(component["name"]), component["version"]))
    if allowed:
        component.setdefault("externalReferences", []).append(
            {
                "type": "distribution",
                "url": component["purl"],
                "comment": "the files that the lock allows; one of them is installed",
                "hashes": [{"alg": "SHA-256", "content": each} for each in allowed],
            }
        )


def add_licence(component: Component, installed: Installed) -> None:
    """Take the free text of the package's metadata where cyclonedx-py found no licence."""
    _, stated = installed.get(component["name"], ("", ""))
    if not component.get("licenses") and stated:
        component["licenses"] = [{"license": {"name": stated.splitlines()[0][:200]}}]


def debian_packages(status: str, documents: Path) -> Iterator[Component]:
    """The installed packages of dpkg's status file.

    `documents` is /usr/share/doc, whose copyright files name the licences, where they are kept.
    """
    for paragraph in status.split("\n\n"):
        entry = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.M))
        if not entry.get("Status", "").endswith(" installed"):
            continue
        name, version, arch = entry["Package"], entry["Version"], entry["Architecture"]
        component: Component = {
            "type": "library",
            "bom-ref": f"deb:{name}:{arch}",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{name}@{version.replace(':', '%3A')}?arch={arch}",
        }
        copyright_file = documents / name / "copyright"
        if copyright_file.is_file():
            text = copyright_file.read_text("utf-8", "replace")
            licences = dict.fromkeys(re.findall(r"^License: *(\S.*)$", text, re.M))
            if licences:
                component["licenses"] = [{"license": {"name": each}} for each in licences]
        yield component


def models(store: Path) -> Iterator[Component]:
    """The models of a store, each with the hash of its `model.onnx`, and its other networks."""
    for path in sorted(store.glob("*/model.toml")):
        described = tomllib.loads(path.read_text("utf-8"))
        networks = {file.name: _hashes(file) for file in sorted(path.parent.glob("*.onnx"))}
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"model:{described['name']}",
            "name": described["name"],
            "version": described["version"],
            "description": described["title"],
            "licenses": [{"license": {"name": described["licence"]}}],
            "hashes": networks.pop("model.onnx"),
            "components": [
                {
                    "type": "file",
                    "bom-ref": f"model:{described['name']}/{name}",
                    "name": name,
                    "hashes": hashes,
                }
                for name, hashes in networks.items()
            ],
        }


def _hashes(file: Path) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}]


def problems(components: Sequence[Component], installed: Installed, own: str) -> Iterator[str]:
    """What the list lacks: a package, its version, its licence or its hashes.

    The package `own` is built here and has no hash in a lock.
    """
    listed = {normal(each["name"]): each for each in components if _is_python(each)}
    for name, (version, _) in installed.items():
        component = listed.get(normal(name))
        if component is None:
            yield f"{name} {version} is installed, but not in the list"
            continue
        if component["version"] != version:
            yield f"{name} is {version}, but {component['version']} in the list"
        if not component.get("licenses"):
            yield f"{name} has no licence"
        if normal(name) != own and not any(
            "comment" in each and each.get("hashes")
            for each in component.get("externalReferences", ())
        ):
            yield f"{name} {version} has no hash: is it in the lock?"


def _is_python(component: Component) -> bool:
    return not component["bom-ref"].startswith(("deb:", "model:", "python:"))


def build(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole document. Exits with a message if it is not complete."""
    python = str(arguments.environment)
    probed = json.loads(_output(python, "-I", "-c", PROBE))
    options = ["--spec-version", SPEC, "--output-reproducible", "--output-format", "JSON"]
    command = [sys.executable, "-m", "cyclonedx_py", "environment", *options, python]
    document: dict[str, Any] = json.loads(_output(*command))
    components: list[Component] = document["components"]
    installed: Installed = probed["packages"]
    hashes = locked_hashes(arguments.lock.read_text("utf-8"))
    for component in components:
        add_licence(component, installed)
        add_hashes(component, hashes)
    if found := list(problems(components, installed, own="sfd")):
        sys.exit("the SBOM is not complete: " + "; ".join(found))
    components.append(
        {
            "type": "platform",
            "bom-ref": "python:cpython",
            "name": "python",
            "version": probed["python"],
            "licenses": [{"license": {"id": "PSF-2.0"}}],
            "purl": f"pkg:generic/python@{probed['python']}",
        }
    )
    components += debian_packages(
        arguments.dpkg.read_text("utf-8"), arguments.dpkg.parents[3] / "usr/share/doc"
    )
    components += models(arguments.models)
    document["metadata"]["component"] = {
        "type": "container",
        "bom-ref": "image:sfd",
        "name": "sfd",
        "version": next(each["version"] for each in components if each["name"] == "sfd"),
        "licenses": [{"license": {"id": "MIT"}}],
    }
    return document


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def validate(text: str) -> None:
    """Exit with a message if the document does not fit CycloneDX's own schema."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"the SBOM does not fit CycloneDX {SPEC}: {error}"[:1000])


def main() -> None:
    """Write the file, and print what it lists."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--environment", type=Path, required=True, help="its Python")
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--dpkg", type=Path, default=Path("/var/lib/dpkg/status"))
    parser.add_argument("--models", type=Path, required=True, help="the model store")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    document = build(arguments)
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    validate(text)
    arguments.output.write_text(text, "utf-8")
    print(f"{len(document['components'])} components in {arguments.output}")


if __name__ == "__main__":
    main()
