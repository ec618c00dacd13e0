"""`sfd prune` writes weights whose dead channels are zero, and that compute the same."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from convert.caffe import weights
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.weights import LayerWeights, Weights
from convert.conversion import convert_file
from convert.options import Options
from convert.outputs.kinds import Kind
from geometry.arrays import F32
from sfd.cli import main
from training.data.dataset import LabelledImage, split
from training.pruning import silenced

MODEL = Path(__file__).parents[3] / "model_store" / "sfd-640-mobilenetv2-mod2"
WEIGHTS = MODEL / "weights.caffemodel"
SIDE = 320
DEPLOY = (MODEL / "deploy.prototxt").read_text().replace("  dim: 640\n", f"  dim: {SIDE}\n")
"""The network with a smaller input, which takes a quarter of the time."""


@pytest.fixture
def annotations(portraits: Sequence[LabelledImage], tmp_path: Path) -> Path:
    path = tmp_path / "list.jsonl"
    lines = [json.dumps({"image": each.name, "boxes": None}) for each in portraits]
    path.write_text("\n".join(lines))
    for each in portraits:
        shutil.copy(each.path, tmp_path / each.name)
    return path


def write_deploy(folder: Path, text: str = DEPLOY) -> Path:
    path = folder / "deploy.prototxt"
    path.write_text(text)
    return path


def prune(
    annotations: Path,
    output: Path,
    *arguments: str,
    deploy: Path | None = None,
    source: Path = WEIGHTS,
) -> int:
    deploy = deploy or write_deploy(output.parent)
    sources = [str(deploy), str(source), "--annotations", str(annotations)]
    return main(["prune", *sources, "-o", str(output), *arguments])


def heads(caffemodel: Path, picture: Path, *, pruned: bool, folder: Path) -> list[F32]:
    """What the network finds in a picture that fills its input, and the size of its file."""
    made = folder / f"{caffemodel.stem}.onnx"
    deploy = write_deploy(folder)
    convert_file(deploy, caffemodel, made, Options(Kind.HEADS, prune=pruned, verify=False))
    session = ort.InferenceSession(str(made), providers=["CPUExecutionProvider"])
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE)))
    return [*session.run(None, {"images": pixels[None]}), np.asarray(made.stat().st_size)]


def test_pruned_weights_compute_the_same_in_a_smaller_file(
    annotations: Path,
    portraits: Sequence[LabelledImage],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "pruned.caffemodel"
    assert prune(annotations, output, "--held-out", "0") == 0
    said = capsys.readouterr().out
    picture = portraits[0].path
    boxes, scores, size = heads(output, picture, pruned=True, folder=tmp_path)
    old_boxes, old_scores, old_size = heads(WEIGHTS, picture, pruned=False, folder=tmp_path)
    # The picture is square in the list too, so this is the first view of it.
    np.testing.assert_allclose(boxes, old_boxes, atol=1e-5)
    np.testing.assert_allclose(scores, old_scores, atol=1e-5)
    assert size < 0.9 * old_size
    old, new = weights.read(WEIGHTS), weights.read(output)
    changed = {name for name in old if any(map(np.any, map(np.not_equal, old[name], new[name])))}
    assert old.keys() == new.keys()
    assert changed
    for name in changed:
        silent = (new[name][0] == 0).reshape(len(new[name][0]), -1).all(axis=1)
        np.testing.assert_array_equal(new[name][0][~silent], old[name][0][~silent])
        assert f"{name}: {silent.sum()} of {len(silent)} channels" in said


def test_held_out_pictures_are_not_looked_at(
    annotations: Path,
    portraits: Sequence[LabelledImage],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = annotations.read_text().splitlines()
    trained = split(portraits, 0.5)[0]
    assert 0 < len(trained) < len(lines)
    assert prune(annotations, tmp_path / "pruned.caffemodel", "--held-out", "0.5") == 0
    assert f"{len(trained)} pictures activated none" in capsys.readouterr().out


def test_a_file_is_never_overwritten(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "pruned.caffemodel"
    output.write_bytes(b"precious")
    assert prune(annotations, output) == 2
    assert "exists: remove it" in capsys.readouterr().err
    assert output.read_bytes() == b"precious"


def test_a_missing_picture_is_named_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"image": "nowhere.jpg", "boxes": null}')
    output = tmp_path / "pruned.caffemodel"
    assert prune(listed, output, "--held-out", "0") == 1
    assert "nowhere.jpg: check --images" in capsys.readouterr().err
    assert not output.exists()


def test_nothing_is_left_if_all_pictures_are_held_out(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(annotations, tmp_path / "pruned.caffemodel", "--held-out", "0.999999") == 2
    assert "lower --held-out" in capsys.readouterr().err


def test_a_network_without_relu_is_refused(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy = write_deploy(tmp_path, DEPLOY.replace('"ReLU"', '"TanH"'))
    output = tmp_path / "pruned.caffemodel"
    assert prune(annotations, output, "--held-out", "0", deploy=deploy) == 1
    assert "nothing to prune" in capsys.readouterr().err


def test_layers_that_share_their_weights_are_left_alone(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = DEPLOY
    for name in ("conv_14/expand_/scale", "conv_15/expand_/scale"):
        line = f'name: "{name}"\n'
        assert text.count(line) == 1
        text = text.replace(line, line + 'param { name: "one" } param { name: "two" }\n')
    deploy = write_deploy(tmp_path, text)
    output = tmp_path / "pruned.caffemodel"
    assert prune(annotations, output, "--held-out", "0", deploy=deploy) == 0
    said = capsys.readouterr().out
    assert "conv_16/expand_/scale: " in said
    assert "conv_14/expand_/scale: " not in said
    assert "conv_15/expand_/scale: " not in said


@pytest.mark.parametrize("shape", [(4,), (1, 1, 1, 4)])
def test_vectors_of_old_files_are_silenced_too(shape: tuple[int, ...]) -> None:
    scale = np.arange(1, 5, dtype=np.float32).reshape(shape)
    old = Weights("net", (LayerWeights("scale", "Scale", (scale, scale)),))
    dead = np.asarray([True, False, False, True])
    new = silenced(old, {"scale": dead})["scale"]
    expected = np.asarray([0, 2, 3, 0], np.float32).reshape(shape)
    np.testing.assert_array_equal(new, [expected, expected])


def test_a_blob_that_cannot_be_read_is_refused_before_any_work(
    annotations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = weights.read_all(WEIGHTS)
    first = replace(whole.layers[0], problems=(Diagnostic("the first blob is damaged"),))
    broken = replace(whole, layers=(first, *whole.layers[1:]))
    monkeypatch.setattr(weights, "read_all", lambda path: broken)
    output = tmp_path / "pruned.caffemodel"
    assert prune(annotations, output, "--held-out", "0") == 1
    assert "the first blob is damaged" in capsys.readouterr().err
    assert not output.exists()


def test_pixels_are_preprocessed_as_in_training(annotations: Path, tmp_path: Path) -> None:
    """One picture looks like another with another mean, and activates other channels."""
    outputs = []
    for number, arguments in enumerate([[], ["--mean", "0", "--scale", "0.01"]]):
        outputs.append(tmp_path / f"{number}.caffemodel")
        assert prune(annotations, outputs[-1], "--held-out", "0", *arguments) == 0
    assert outputs[0].read_bytes() != outputs[1].read_bytes()


def test_a_network_of_grey_pictures_is_pruned(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy = write_deploy(tmp_path, DEPLOY.replace("  dim: 3\n", "  dim: 1\n", 1))
    source = tmp_path / "grey.caffemodel"
    blobs = weights.read(WEIGHTS)
    weights.write(source, "grey", {**blobs, "Conv": [blobs["Conv"][0].sum(axis=1, keepdims=True)]})
    output = tmp_path / "pruned.caffemodel"
    assert prune(annotations, output, "--held-out", "0", deploy=deploy, source=source) == 0
    assert "pictures activated none of them" in capsys.readouterr().out
    assert (
        prune(
            annotations, tmp_path / "other.caffemodel", "--channel-order", "bgr",
            deploy=deploy, source=source,
        )
        == 2
    )  # fmt: skip
    assert "--channel-order bgr does not fit a network of 1 channel\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "channels", "complaint"),
    [
        (
            '"DetectionOutput"',
            '"Silence"',
            3,
            "has no DetectionOutput layer, but needs exactly one",
        ),
        ("  dim: 3\n", "  dim: 4\n", 4, "whose only input is an image of 1 or 3 channels"),
    ],
)
def test_a_network_that_is_no_detector_of_images_is_refused(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    old: str, new: str, channels: int, complaint: str,
) -> None:  # fmt: skip
    deploy = write_deploy(tmp_path, DEPLOY.replace(old, new, 1))
    source = tmp_path / "other.caffemodel"
    blobs = weights.read(WEIGHTS)
    first = np.zeros((len(blobs["Conv"][0]), channels, 3, 3), np.float32)
    weights.write(source, "other", {**blobs, "Conv": (first,)})
    output = tmp_path / "pruned.caffemodel"
    assert prune(annotations, output, deploy=deploy, source=source) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert str(deploy) in said


def test_a_network_with_two_detectors_is_refused(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = DEPLOY[DEPLOY.index('layer {\n  name: "detection_out"') :]
    deploy = write_deploy(tmp_path, DEPLOY + last.replace('"detection_out"', '"another"'))
    assert prune(annotations, tmp_path / "pruned.caffemodel", deploy=deploy) == 2
    said = capsys.readouterr().err
    assert f"{deploy}: has 2 DetectionOutput layers, but needs exactly one" in said
