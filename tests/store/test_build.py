import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from convert.conversion import VerificationError, convert_file
from convert.report import Report, Status
from convert.widen import BLOCK
from sfd.errors import SfdError
from sfd.files import WriteError, sha256
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


def test_a_file_that_is_built_again_keeps_its_mode(built: Model) -> None:
    record = built.folder / "build.json"
    for path in (built.onnx, record):
        path.chmod(0o600)
    build(built, verify=False)
    assert [path.stat().st_mode & 0o777 for path in (built.onnx, record)] == [0o600, 0o600]


def test_a_model_built_by_another_converter_is_built_again(built: Model) -> None:
    path = built.folder / "build.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "converter": "0.0.1"}), "utf-8")
    assert not is_built(built)


@pytest.mark.parametrize("cpu", [False, True])
def test_a_model_from_before_there_was_a_file_for_cpus_is_built_again(
    built: Model, cpu: bool
) -> None:
    path = built.folder / "build.json"
    record = json.loads(path.read_text("utf-8"))
    assert record.pop("wide") is False
    if cpu:
        built.cpu_onnx.write_bytes(built.onnx.read_bytes())
        record["cpu"] = sha256(built.cpu_onnx)
    path.write_text(json.dumps(record), "utf-8")
    assert is_built(built) is cpu
    build(built, verify=False)
    assert is_built(built)


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


SECOND_LOOK = """
[second_look]
side = 32
scale = 0.5
min_side = 16
trigger = 0.2
"""


def with_second_look(built: Model, text: str = SECOND_LOOK) -> Model:
    path = built.folder / "model.toml"
    path.write_text(path.read_text("utf-8") + text, "utf-8")
    return model.load(built.folder)


def test_a_second_look_has_a_network_of_its_own_size(built: Model) -> None:
    looking = with_second_look(built)
    assert not is_built(looking)
    made = build(looking)
    (images,) = onnx.load(looking.second_look_onnx).graph.input
    assert [dim.dim_value for dim in images.type.tensor_type.shape.dim][1:] == [32, 32, 3]
    assert made.second_look == sha256(looking.second_look_onnx)
    assert model.check(looking) == made
    assert is_built(looking)


def test_another_side_of_the_second_look_needs_a_new_build_and_another_trigger_none(
    built: Model,
) -> None:
    looking = with_second_look(built)
    build(looking, verify=False)
    path = built.folder / "model.toml"
    text = path.read_text("utf-8")
    path.write_text(text.replace("trigger = 0.2", "trigger = 0.3"), "utf-8")
    assert is_built(model.load(built.folder))
    path.write_text(text.replace("side = 32", "side = 64"), "utf-8")
    assert not is_built(model.load(built.folder))


def test_a_model_that_loses_its_second_look_is_built_again(built: Model) -> None:
    before = (built.folder / "model.toml").read_text("utf-8")
    build(with_second_look(built), verify=False)
    (built.folder / "model.toml").write_text(before, "utf-8")
    without = model.load(built.folder)
    assert not is_built(without)
    assert build(without, verify=False).second_look is None
    assert is_built(without)
    assert not without.second_look_onnx.exists()


@pytest.mark.parametrize("fails", ["model.onnx", "model.cpu.onnx", "model.second_look.onnx"])
def test_a_failed_conversion_of_any_network_changes_no_file(
    wide: Model, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    looking = with_second_look(wide)
    looking.onnx.write_bytes(b"made by an older converter")
    before = {path.name: path.read_bytes() for path in wide.folder.iterdir()}

    def convert(*given: Any, **options: Any) -> Report:
        if given[2].name.strip(".").startswith(fails):
            raise SfdError("does not convert")
        return convert_file(*given, **options)

    monkeypatch.setattr("store.build.convert_file", convert)
    with pytest.raises(SfdError, match="does not convert"):
        build(looking, verify=False)
    assert {path.name: path.read_bytes() for path in wide.folder.iterdir()} == before


@pytest.fixture
def wide(built: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The small model, as if its values were too wide for a cache."""
    monkeypatch.setattr("convert.partition.PART_BYTES", 1)
    monkeypatch.setattr("convert.partition.MOST_CHANNELS", BLOCK)
    return built


def test_a_network_with_wide_values_has_a_file_for_cpus(wide: Model) -> None:
    made = build(wide)
    assert made.cpu == sha256(wide.cpu_onnx)
    assert model.check(wide) == made
    parts, whole = (onnx.load(path).graph for path in (wide.cpu_onnx, wide.onnx))
    assert [each.name for each in parts.output] == [each.name for each in whole.output]
    assert any("/part1" in node.name for node in parts.node)
    assert not any("/part1" in node.name for node in whole.node)


def test_a_network_that_loses_its_wide_values_loses_that_file(
    wide: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(wide, verify=False)
    monkeypatch.undo()
    assert build(wide, verify=False).cpu is None
    assert not wide.cpu_onnx.exists()
    assert is_built(wide)


def test_a_file_for_cpus_that_is_not_verified_is_left_out_with_a_warning(
    wide: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*given: Any, **options: Any) -> Report:
        report = convert_file(*given, **options)
        if not given[3].partition:
            return report
        failed = replace(report.verification, status=Status.FAILED, reason="scores differ")
        raise VerificationError(replace(report, verification=failed))

    monkeypatch.setattr("store.build.convert_file", convert)
    warnings: list[str] = []
    assert build(wide, warn=warnings.append).cpu is None
    assert warnings == [
        "model.cpu.onnx is left out, so a CPU runs model.onnx: failed: scores differ"
    ]
    assert not wide.cpu_onnx.exists()
    assert is_built(wide)


def test_members_of_a_later_version_are_ignored(built: Model) -> None:
    path = built.folder / "build.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "npu": "0" * 64}), "utf-8")
    assert is_built(built)


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(
    built: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = with_second_look(built)

    def refuse(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("store.build.TemporaryDirectory", refuse)
    with pytest.raises(WriteError, match=r"can't write into .*/tiny: Permission denied"):
        build(looking, verify=False)


@pytest.mark.parametrize("file", ["model.cpu.onnx", "model.second_look.onnx"])
@pytest.mark.parametrize("damage", ["missing", "does not match its sha256"])
def test_a_damaged_network_beside_the_first_is_found(wide: Model, file: str, damage: str) -> None:
    looking = with_second_look(wide)
    build(looking, verify=False)
    if damage == "missing":
        (looking.folder / file).unlink()
    else:
        (looking.folder / file).write_bytes(b"other")
    with pytest.raises(ModelError, match=rf"{file}: .*{damage}.*sfd models build tiny"):
        model.check(looking)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("scale = 0.5", "scale = 0.6"), "the copy of the image is larger than its side"),
        (("scale = 0.5", "scale = 0"), "second_look.scale"),
        (("trigger = 0.2", "trigger = 2"), "second_look.trigger"),
        (("min_side = 16", "least = 16"), "second_look.min_side"),
    ],
)
def test_a_wrong_second_look_is_named(built: Model, change: tuple[str, str], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        with_second_look(built, SECOND_LOOK.replace(*change))
