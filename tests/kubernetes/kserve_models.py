"""Check manifests against the models of KServe's and Kubernetes' own Python packages.

    python kserve_models.py < MANIFESTS.json

It runs in an environment with these packages. It prints a line for each mistake and exits with 1 if
there is one. The models know every field, its type, and which must be given; extra fields are
mistakes too.
"""

import importlib
import importlib.util
import json
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

# The package's own __init__ imports the whole server, which needs many more packages.
_found = importlib.util.find_spec("kserve")
assert _found
assert _found.submodule_search_locations
_package = types.ModuleType("kserve")
_package.__path__ = list(_found.submodule_search_locations)
sys.modules["kserve"] = _package
MODELS = (importlib.import_module("kserve.models"), importlib.import_module("kubernetes.client"))

ROOTS = {"InferenceService": "V1beta1InferenceService", "ServingRuntime": "V1alpha1ServingRuntime"}
PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "object": (object,),
    "ResourceQuantity": (str, int),
}
# KServe names these two by their Go package, and the other package by their version.
ALIASES = {"K8sIoApiAppsV1DeploymentStrategy": "V1DeploymentStrategy"}


def mistakes(kind: str, value: Any, path: str) -> Iterator[str]:
    """What is wrong with a value that should be of this kind."""
    if found := re.fullmatch(r"(?:list|List)\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{path}: must be a list"
            return
        for number, item in enumerate(value):
            yield from mistakes(found[1], item, f"{path}/{number}")
    elif found := re.fullmatch(r"(?:dict|Dict)[\[(]\w+, ?(.+)[\])]", kind):
        if not isinstance(value, dict):
            yield f"{path}: must be an object"
            return
        for name, item in value.items():
            yield from mistakes(found[1], item, f"{path}/{name}")
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (isinstance(value, bool) and kind == "int"):
            yield f"{path}: must be {kind}"
    else:
        yield from _mistakes_of_model(ALIASES.get(kind, kind), value, path)


def _mistakes_of_model(name: str, value: Any, path: str) -> Iterator[str]:
    model = next((getattr(module, name) for module in MODELS if hasattr(module, name)), None)
    if model is None:
        yield f"{path}: the packages have no model {name}"
        return
    if not isinstance(value, dict):
        yield f"{path}: must be an object"
        return
    names = {json_name: field for field, json_name in model.attribute_map.items()}
    given = {}
    for key, item in value.items():
        if key not in names:
            yield f"{path}/{key}: {name} has no such field"
            continue
        given[names[key]] = item
        yield from mistakes(model.openapi_types[names[key]], item, f"{path}/{key}")
    try:
        # The constructor refuses a field that is missing or has none of the allowed values.
        model(**given)
    except ValueError as error:
        yield f"{path}: {error}"


def main() -> int:
    """Check every manifest of standard input; return the exit code."""
    found = [
        mistake
        for manifest in json.load(sys.stdin)
        for mistake in mistakes(ROOTS[manifest["kind"]], manifest, manifest["kind"])
    ]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
