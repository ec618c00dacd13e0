"""`sfd models quantize`: an INT8 file beside the float32 one, what it was made from and costs."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.agreement import agrees, builtin_pictures
from detection.precision import Precision, lacking, processor_features
from detection.providers import ProviderName
from detection.session import open_session
from sfd.cli import main
from sfd.files import sha256
from store import model as models
from store import quantize
from store.build import build
from store.listing import card, data, examine, table
from store.model import Model
from store.quantize import MINIMUM, divide, make

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "service/static/sample.jpg"


@pytest.fixture(autouse=True, scope="module")
def able() -> None:
    reason = lacking(Precision.INT8, processor_features())
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fewest images that are accepted: parts of one photograph, turned and dimmed."""
    folder = tmp_path_factory.mktemp("images")
    photograph = Image.open(SAMPLE).convert("RGB")
    random = np.random.default_rng(0)
    for number in range(MINIMUM):
        left, top = (int(value) for value in random.integers(0, 120, 2))
        part = photograph.crop((left, top, 512 - int(random.integers(0, 120)), 512))
        if number % 2:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        part.point([round(i * (1 - number / 40)) for i in range(256)] * 3).save(
            folder / f"{number}.jpg"
        )
    return folder


@pytest.fixture
def quantized(built: Model, images: Path) -> Model:
    make(built, divide(images))
    return built


def test_a_quarter_of_the_images_is_held_back_whatever_their_names(
    images: Path, tmp_path: Path
) -> None:
    divided = divide(images)
    assert (len(divided.calibrating), len(divided.held_back)) == (15, 5)
    assert not set(divided.calibrating) & set(divided.held_back)
    for number, file in enumerate(sorted(images.iterdir(), reverse=True)):
        (tmp_path / f"other{number}.jpg").write_bytes(file.read_bytes())
    again = divide(tmp_path)
    assert again.sha256 == divided.sha256
    assert list(map(sha256, again.held_back)) == list(map(sha256, divided.held_back))


def test_the_same_image_twice_counts_once(images: Path, tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes((images / "0.jpg").read_bytes())
    with pytest.raises(models.ModelError, match=f"has 1 different images, .* at least {MINIMUM}"):
        divide(tmp_path)


def test_the_record_says_what_the_file_was_made_from_and_what_it_costs(
    quantized: Model, images: Path
) -> None:
    made = models.check(quantized).int8
    assert made is not None
    assert made.sha256 == sha256(quantized.int8)
    assert made.source == sha256(quantized.onnx)
    digests = sorted(map(sha256, divide(images).calibrating))
    assert made.calibration.sha256 == hashlib.sha256("\n".join(digests).encode()).hexdigest()
    assert made.calibration.images == 15
    assert "MinMax" in made.calibration.method
    assert made.agreement.images == 5
    assert made.agreement.faces > 0
    assert made.speed.ratio == pytest.approx(made.speed.float32_ms / made.speed.int8_ms, rel=0.1)


def test_int8_is_served_only_if_it_is_asked_for(quantized: Model) -> None:
    served = {
        precision: open_session(quantized, ProviderName.CPU, 1, 1, precision=precision)
        for precision in (Precision.FLOAT32, Precision.INT8)
    }
    assert served[Precision.FLOAT32].sha256 == sha256(quantized.onnx)
    assert served[Precision.INT8].sha256 == sha256(quantized.int8)
    picture = builtin_pictures(quantized)[0]
    float32, int8 = (session.run([picture])[0].scores for session in served.values())
    assert not np.array_equal(float32, int8)


def test_the_default_models_faces_agree_with_float32(
    built_model: Path, tmp_path: Path, images: Path
) -> None:
    folder = tmp_path / built_model.parent.name
    folder.mkdir()
    for file in built_model.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.int8.onnx").unlink(missing_ok=True)
    model = models.load(folder)
    made = make(model, divide(images))
    assert made.agreement.matched == 1
    assert made.agreement.iou_p5 > 0.8
    reference, int8 = (
        open_session(model, ProviderName.CPU, 2, 1, precision=precision)
        for precision in (Precision.FLOAT32, Precision.INT8)
    )
    pictures = builtin_pictures(model)
    assert agrees(
        model,
        Precision.INT8,
        [reference.run([each])[0] for each in pictures],
        [int8.run([each])[0] for each in pictures],
    )


def test_an_existing_file_is_overwritten_only_with_force(quantized: Model, images: Path) -> None:
    before = quantized.int8.read_bytes()
    quantized.int8.write_bytes(b"mine")
    with pytest.raises(models.ModelError, match="already exists; add --force"):
        make(quantized, divide(images))
    assert quantized.int8.read_bytes() == b"mine"
    make(quantized, divide(images), force=True)
    assert quantized.int8.read_bytes() == before


def test_a_file_that_is_no_image_is_named_and_nothing_is_written(
    built: Model, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "with-a-broken-one"
    folder.mkdir()
    for file in images.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "broken.jpg").write_text("no image")
    with pytest.raises(models.ModelError, match=r"broken\.jpg: .*; remove it from the folder"):
        make(built, divide(folder))
    assert not built.int8.exists()
    assert models.read_build(built).int8 is None


def test_images_without_a_face_are_refused(
    built: Model, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "measure", lambda *_: None)
    with pytest.raises(models.ModelError, match="no face in the 5 images that were held back"):
        make(built, divide(images))
    assert not built.int8.exists()


def test_a_processor_without_int8_is_refused(
    built: Model, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "processor_features", lambda: frozenset({"avx2"}))
    with pytest.raises(models.ModelError, match="can't be measured here: int8 needs a processor"):
        make(built, divide(images))


def test_another_float32_file_makes_the_int8_file_out_of_date(quantized: Model) -> None:
    text = (quantized.folder / "model.toml").read_text("utf-8").replace("104.0", "100.0")
    (quantized.folder / "model.toml").write_text(text, "utf-8")
    changed = models.load(quantized.folder)
    build(changed, verify=False)
    row = examine(changed.folder)
    assert row.state == "ready"
    assert "was made from another model.onnx; run `sfd models quantize tiny" in row.problem


def test_building_the_same_file_again_keeps_the_int8_file(quantized: Model) -> None:
    build(quantized, verify=False)
    assert examine(quantized.folder).problem == ""


def test_list_show_and_json_know_the_int8_file(quantized: Model) -> None:
    row = examine(quantized.folder)
    assert (row.state, row.problem) == ("ready", "")
    assert f"model.int8.onnx, sha256 {sha256(quantized.int8)}" in card(row)
    assert "calibrated on 15 images" in card(row)
    assert data(row)["build"]["int8"]["calibration"]["images"] == 15
    quantized.int8.write_bytes(b"other")
    broken = examine(quantized.folder)
    assert broken.state == "ready"
    assert "model.int8.onnx: does not match its sha256" in table([broken])


def test_a_model_without_an_int8_file_does_not_mention_it(built: Model) -> None:
    assert "int8" not in (built.folder / "build.json").read_text("utf-8")
    assert "model.int8.onnx" not in card(examine(built.folder))


# The command.


@pytest.fixture
def chosen(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`sfd models` uses the test's own store."""
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    return store


def test_the_command_writes_the_file_and_verify_and_remove_know_it(
    chosen: Path, built: Model, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "quantize", "tiny", "--images", str(images)]) == 0
    out = capsys.readouterr().out
    assert "tiny: wrote" in out
    assert "calibrated on 15 images. On 5 others it finds" in out
    assert main(["models", "verify"]) == 0
    built.int8.write_bytes(b"other")
    assert main(["models", "verify"]) == 1
    assert "model.int8.onnx: does not match its sha256" in capsys.readouterr().err
    assert main(["models", "remove", "tiny"]) == 0
    assert not built.folder.exists()


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        (None, 1, "is not a folder"),
        (0, 2, "the folder has no image files"),
        (3, 1, "has 3 different images, but the calibration needs at least 20"),
    ],
)
def test_a_folder_that_does_not_suit_is_refused(
    chosen: Path, built: Model, images: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], files: int | None, code: int, says: str,
) -> None:  # fmt: skip
    folder = tmp_path / "given"
    if files is not None:
        folder.mkdir()
        for number in range(files):
            (folder / f"{number}.jpg").write_bytes((images / f"{number}.jpg").read_bytes())
    assert main(["models", "quantize", "tiny", "--images", str(folder)]) == code
    assert says in capsys.readouterr().err
    assert not built.int8.exists()


def test_a_model_that_is_not_built_is_refused(
    chosen: Path, unbuilt: Model, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "quantize", "tiny", "--images", str(images)]) == 1
    assert "run `sfd models build tiny`" in capsys.readouterr().err
