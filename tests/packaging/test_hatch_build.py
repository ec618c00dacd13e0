"""The build hook adds the files that a wheel needs, and refuses a bad model."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hatch_build() -> ModuleType:
    """The module. It is not in any package."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a catalog and one model, which is described wrongly."""
    folder = tmp_path / "model_store/broken"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text("name = 1\n", "utf-8")
    (folder.parent / "catalog.toml").touch()
    return tmp_path


def build(hatch_build: ModuleType, root: Path, version: str) -> dict[str, str]:
    """The files that the hook adds to a wheel of `root`: the source and target of each."""
    config = {"models": ["broken"]}
    hook = hatch_build.CustomBuildHook(str(root), config, None, None, "", "wheel")
    data: dict[str, Any] = {"force_include": {}}
    hook.initialize(version, data)
    found: dict[str, str] = data["force_include"]
    assert all(Path(file).is_file() for file in found)
    hook.finalize(version, data, "")
    assert not any(Path(file).exists() for file in found)
    return found


def test_an_editable_installation_builds_nothing(hatch_build: ModuleType, checkout: Path) -> None:
    assert build(hatch_build, checkout, "editable") == {}


def test_a_model_that_cannot_be_converted_stops_the_build_with_the_reason(
    hatch_build: ModuleType, checkout: Path
) -> None:
    with pytest.raises(
        RuntimeError, match=r"building the wheel's models failed: sfd models: .*model\.toml: name: "
    ):
        build(hatch_build, checkout, "standard")


@pytest.mark.parametrize("verification", ["verified", "unverified: OpenCV is missing"])
def test_only_a_verified_model_gets_into_a_wheel(
    hatch_build: ModuleType,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    verification: str,
) -> None:
    (checkout / "model_store/broken/model.onnx").write_text("an older one", "utf-8")

    def convert(root: Path, store: Path) -> None:
        assert not (store / "broken/model.onnx").exists()
        record = {"verification": verification}
        (store / "broken/build.json").write_text(json.dumps(record), "utf-8")

    monkeypatch.setattr(hatch_build, "_convert", convert)
    if verification == "verified":
        places = set(build(hatch_build, checkout, "standard").values())
        names = ("catalog.toml", "broken/model.toml", "broken/build.json")
        assert places == {f"sfd/model_store/{name}" for name in names}
    else:
        with pytest.raises(RuntimeError, match="wheel's model broken is unverified: OpenCV"):
            build(hatch_build, checkout, "standard")
