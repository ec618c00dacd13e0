import os
import subprocess
import sys
from pathlib import Path

import pytest

from sfd.files import sha256
from store import model
from store.model import Input, Model, ModelError
from store.staging import write_description

ROOT = Path(__file__).parents[2]


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "model.toml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as raised:
        model.load(folder)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_a_folder_becomes_data(unbuilt: Model, store: Path) -> None:
    assert unbuilt.name == "tiny"
    assert unbuilt.folder == store / "tiny"
    assert unbuilt.deploy == store / "tiny/deploy.prototxt"
    assert unbuilt.weights == store / "tiny/weights.caffemodel"
    assert unbuilt.onnx == store / "tiny/model.onnx"
    assert (unbuilt.input.height, unbuilt.input.width) == (64, 64)
    assert unbuilt.thresholds.keep_top_k == 750


def test_the_committed_models_are_intact() -> None:
    folders = model.find(ROOT / "model_store")
    assert ROOT / "model_store/sfd-640-mobilenetv2-mod2" in folders
    for folder in folders:
        model.check_sources(model.load(folder))


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('title = "A tiny detector"', "", "title: "),
        ('title = "A tiny detector"', 'title = " "', "title: "),
        ("height = 64", "heigth = 64", "input.heigth: "),
        ("height = 64", "height = 0", "input.height: "),
        ("channels = 3", "channels = 4", "input.channels: "),
        ("channels = 3", "channels = 1", "input: channels must be 1 if channel_order"),
        ('channel_order = "bgr"', 'channel_order = "bgra"', "input.channel_order: "),
        ("117.0,", "", "input: mean has 2 values for 3 channels"),
        ("default_score = 0.5", "default_score = 1.5", "thresholds.default_score: "),
        ("nms_iou = 0.3", 'nms_iou = "some"', "thresholds.nms_iou: "),
        ("top_k = 5000", "top_k = -2", "thresholds.top_k: "),
        ('"face",', "", "classes: "),
        ("[sources.deploy]", "[sources.other]", "sources.deploy is missing"),
        ('"deploy.prototxt"', '"../deploy.prototxt"', "sources.deploy.file: "),
        ('"deploy.prototxt"', '"/etc/passwd"', "sources.deploy.file: "),
        ('"deploy.prototxt"', '".."', "sources.deploy.file: "),
        ('sha256 = "', 'sha256 = "z', "sources.deploy.sha256: "),
        ('name = "tiny"', 'name = "Tiny"', "name: "),
        ('name = "tiny"', 'name = "other"', "name is 'other', but its folder is 'tiny'"),
        ('version = "1"', "version = 1", "version: "),
    ],
)
def test_a_wrong_description_is_refused_with_file_and_key(
    unbuilt: Model, old: str, new: str, key: str
) -> None:
    edit(unbuilt.folder, old, new)
    message = refused(unbuilt.folder)
    assert message.startswith(f"{unbuilt.folder / 'model.toml'}: ")
    assert key in message


def test_all_mistakes_are_listed_at_once(unbuilt: Model) -> None:
    edit(unbuilt.folder, "height = 64", "height = -1")
    edit(unbuilt.folder, 'licence = "MIT"', "")
    message = refused(unbuilt.folder)
    assert "input.height: " in message
    assert "licence: " in message


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"\0" * 100, b"a = " + b"[" * 9000])
def test_a_file_that_is_not_toml_is_refused(unbuilt: Model, content: bytes) -> None:
    (unbuilt.folder / "model.toml").write_bytes(content)
    assert "is not valid TOML" in refused(unbuilt.folder)


def test_a_missing_folder_is_not_a_model(store: Path) -> None:
    assert refused(store / "nothing").startswith("no model 'nothing' in ")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../tiny", "a/b", "a\\b", "/etc", "-a", ".a", "A", "a\n", "a" * 101, "ä"],
)
def test_a_name_that_could_be_a_path_is_refused(store: Path, name: str) -> None:
    with pytest.raises(ModelError, match="is not a model name"):
        model.folder_of(store, name)


def test_only_folders_with_a_description_and_a_plain_name_are_found(
    unbuilt: Model, store: Path
) -> None:
    for name in ("empty", ".tiny-x.tmp", "Upper"):
        (store / name).mkdir()
    (store / ".tiny-x.tmp/model.toml").touch()
    (store / "Upper/model.toml").touch()
    (store / "catalog.toml").touch()
    assert model.find(store) == (unbuilt.folder,)


def test_the_error_for_a_missing_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist; set SFD_MODEL_STORE"):
        model.find(tmp_path / "nowhere")


def test_an_intact_model_passes_the_check(built: Model) -> None:
    assert model.check(built).verification == "unverified: verification was switched off"


@pytest.mark.parametrize("name", ["deploy.prototxt", "weights.caffemodel"])
def test_a_source_that_changed_by_one_bit_is_found(built: Model, name: str) -> None:
    path = built.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} does not match its sha256 in model.toml"):
        model.check(built)


def test_all_sources_that_differ_are_named(built: Model) -> None:
    built.deploy.write_text("", "utf-8")
    built.weights.unlink()
    with pytest.raises(ModelError) as raised:
        model.check(built)
    assert "deploy.prototxt does not match" in str(raised.value)
    assert "weights.caffemodel is missing" in str(raised.value)


def test_a_model_that_is_not_built_says_how(unbuilt: Model) -> None:
    with pytest.raises(ModelError, match="is not built yet; run `sfd models build tiny`"):
        model.check(unbuilt)


def test_an_onnx_file_that_changed_is_found(built: Model) -> None:
    with built.onnx.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match=r"does not match its sha256 in build\.json; run"):
        model.check(built)


def test_a_missing_onnx_file_is_found(built: Model) -> None:
    built.onnx.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: is missing; run `sfd models build tiny`"):
        model.check(built)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"sha256": 1}', "[" * 100_000])
def test_a_broken_record_of_the_build_is_explained(built: Model, content: str) -> None:
    (built.folder / "build.json").write_text(content, "utf-8")
    with pytest.raises(ModelError, match=r"build\.json: is broken; run `sfd models build tiny`"):
        model.check(built)


def test_a_build_from_other_weights_is_stale(built: Model) -> None:
    built.weights.write_bytes(built.weights.read_bytes() + b"\x0a\x00")
    sources = {**built.sources}
    sources["weights"] = model.Source("weights.caffemodel", sha256(built.weights))
    write_description(Model(**{**vars(built), "sources": sources}), built.folder)
    with pytest.raises(ModelError, match="was built from other sources or settings"):
        model.check(model.load(built.folder))


@pytest.mark.parametrize(
    ("old", "new"), [("117.0", "118.0"), ("scale = 1.0", "scale = 0.5"), ('"face"', '"faces"')]
)
def test_a_build_with_other_settings_is_stale(built: Model, old: str, new: str) -> None:
    edit(built.folder, old, new)
    with pytest.raises(ModelError, match="was built from other sources or settings"):
        model.check(model.load(built.folder))


def test_thresholds_change_without_a_new_build(built: Model) -> None:
    edit(built.folder, "default_score = 0.5", "default_score = 0.25")
    model.check(model.load(built.folder))


@pytest.mark.parametrize(
    ("order", "mean", "expected"),
    [
        ("bgr", (104, 117, 123), (123, 117, 104)),
        ("rgb", (104, 117, 123), (104, 117, 123)),
        ("gray", (114.6,), (115, 115, 115)),
        ("bgr", (-3, 127.5, 300), (255, 128, 0)),
    ],
)
def test_the_mean_colour_is_red_green_blue_in_whole_bytes(
    order: str, mean: tuple[float, ...], expected: tuple[int, int, int]
) -> None:
    channels = len(mean)
    made = Input(height=1, width=1, channels=channels, channel_order=order, mean=mean)  # type: ignore[arg-type]
    assert made.mean_rgb == expected


def test_the_service_can_import_it_without_the_converters_libraries() -> None:
    code = (
        "import sys, store.model, store.catalog\n"
        "found = {'onnx', 'google.protobuf', 'cv2', 'tomli_w', 'numpy'} & set(sys.modules)\n"
        "assert not found, found"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("name", ["model.onnx", "weights.caffemodel", "model.toml", "build.json"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_device_or_a_pipe_in_place_of_a_file_is_refused_at_once(
    built: Model, name: str, kind: str
) -> None:
    path = built.folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="it is a device or a pipe, not a file"):
        model.check(model.load(built.folder))
