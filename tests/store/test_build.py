import json
from pathlib import Path

import onnx
import pytest

from store import model
from store.build import build, is_built
from store.model import Model, ModelError
from store.staging import write_description


def test_a_build_is_verified_and_passes_the_check(unbuilt: Model) -> None:
    made = build(unbuilt)
    assert made.verification == "verified"
    assert model.check(unbuilt) == made
    assert is_built(unbuilt)


def test_the_file_is_in_heads_form_and_carries_the_settings_of_the_toml(built: Model) -> None:
    file = onnx.load(built.onnx)
    assert [output.name for output in file.graph.output] == ["boxes", "scores"]
    properties = {entry.key: entry.value for entry in file.metadata_props}
    assert properties["sfd.name"] == "tiny"
    assert properties["sfd.input_size"] == "64x64"
    assert json.loads(properties["sfd.class_names"]) == ["face"]


def test_the_input_size_of_the_toml_is_the_size_of_the_file(built: Model) -> None:
    path = built.folder / "model.toml"
    path.write_text(path.read_text("utf-8").replace("width = 64", "width = 96"), "utf-8")
    wide = model.load(built.folder)
    assert not is_built(wide)
    build(wide, verify=False)
    (images,) = onnx.load(wide.onnx).graph.input
    assert [dim.dim_value for dim in images.type.tensor_type.shape.dim][1:] == [64, 96, 3]
    assert is_built(wide)


def test_two_builds_of_the_same_sources_are_the_same_file(built: Model) -> None:
    first = built.onnx.read_bytes()
    build(built, verify=False)
    assert built.onnx.read_bytes() == first


def test_a_model_built_by_another_converter_is_built_again(built: Model) -> None:
    path = built.folder / "build.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "converter": "0.0.1"}), "utf-8")
    assert not is_built(built)


def test_a_model_with_changed_sources_is_not_built(unbuilt: Model) -> None:
    with unbuilt.weights.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match=r"weights\.caffemodel does not match its sha256"):
        build(unbuilt)
    assert not unbuilt.onnx.exists()


def test_a_failed_build_leaves_the_previous_one(built: Model) -> None:
    before = {path.name: path.read_bytes() for path in built.folder.iterdir()}
    (built.folder / "model.toml").unlink()
    detection = Model(**{**vars(built), "classes": ("face", "hand")})
    write_description(detection, built.folder)
    with pytest.raises(Exception, match="class-names has 2 names"):
        build(model.load(built.folder))
    after = {path.name: path.read_bytes() for path in built.folder.iterdir()}
    assert {**before, "model.toml": b""} == {**after, "model.toml": b""}


def test_the_record_contains_no_path(built: Model, tmp_path: Path) -> None:
    assert str(tmp_path) not in (built.folder / "build.json").read_text("utf-8")
