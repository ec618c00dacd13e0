"""A small model with known answers, in a store of its own."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pydantic import TypeAdapter

from sfd.distribution import VERSION
from sfd.files import sha256
from store import model as models
from store.record import Build

NAME = "cells"
SIZE = 64
CELLS = 4


def cells_onnx() -> onnx.ModelProto:
    """A "detector" of bright cells: the input is 4 x 4 cells of 16 pixels, each one prior.

    A cell's score is its mean brightness / 255; its box is the cell. So a test knows the answer for
    any picture that it paints.
    """
    side = 1 / CELLS
    cells = [
        [x * side, y * side, (x + 1) * side, (y + 1) * side]
        for y in range(CELLS)
        for x in range(CELLS)
    ]

    def constant(name: str, values: NDArray[Any]) -> onnx.TensorProto:
        return numpy_helper.from_array(values, name)

    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "channel"], ["gray"], keepdims=0),
        helper.make_node("Unsqueeze", ["gray", "one"], ["planes"]),
        helper.make_node(
            "AveragePool", ["planes"], ["means"], kernel_shape=[16, 16], strides=[16, 16]
        ),
        helper.make_node("Reshape", ["means", "rows"], ["cells"]),
        helper.make_node("Div", ["cells", "white"], ["scores"]),
        helper.make_node("Mul", ["cells", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "priors"], ["boxes"]),
    ]
    initializers = [
        constant("channel", np.asarray([3], np.int64)),
        constant("one", np.asarray([1], np.int64)),
        constant("rows", np.asarray([0, CELLS * CELLS, 1], np.int64)),
        constant("white", np.asarray(255, np.float32)),
        constant("nothing", np.asarray(0, np.float32)),
        constant("priors", np.asarray([cells], np.float32)),
    ]
    graph = helper.make_graph(
        nodes,
        "cells",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", 16, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 16, 1]),
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_model(store: Path, name: str = NAME, title: str = "Bright cells") -> Path:
    """A complete model folder around `cells_onnx`."""
    folder = store / name
    folder.mkdir(parents=True)
    (folder / "deploy.prototxt").write_text("# none\n")
    (folder / "weights.caffemodel").write_bytes(b"none")
    sources = {"deploy": "deploy.prototxt", "weights": "weights.caffemodel"}
    text = f"""
name = "{name}"
version = "7"
title = "{title}"
description = "Bright cells are faces."
licence = "MIT"
origin = "the tests"
classes = ["face"]
[input]
height = {SIZE}
width = {SIZE}
channels = 3
channel_order = "bgr"
mean = [104.0, 117.0, 123.0]
[thresholds]
default_score = 0.5
nms_iou = 0.3
top_k = 5000
keep_top_k = 750
"""
    for role, file in sources.items():
        digest = sha256(folder / file)
        text += f'[sources.{role}]\nfile = "{file}"\nsha256 = "{digest}"\n'
    (folder / "model.toml").write_text(text)
    onnx.save(cells_onnx(), folder / "model.onnx")
    described = models.load(folder)
    build = Build(
        sha256=sha256(folder / "model.onnx"),
        sources={role: described.sources[role].sha256 for role in sources},
        recipe=models.recipe_hash(described),
        converter=VERSION,
        verification="unverified",
        wide=False,
    )
    (folder / "build.json").write_text(
        json.dumps(TypeAdapter(Build).dump_python(build, mode="json"))
    )
    return folder


def cells_image(*bright: int, size: int = SIZE) -> Image.Image:
    """A black square picture with the given cells (0-15, in rows) in white."""
    values = np.zeros((CELLS, CELLS), np.uint8)
    values.flat[list(bright)] = 255
    return (
        Image.fromarray(values, "L").resize((size, size), Image.Resampling.NEAREST).convert("RGB")
    )


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with one small model, and a second of the same kind."""
    folder = tmp_path_factory.mktemp("store")
    write_model(folder)
    write_model(folder, "others", "The same again")
    return folder


@pytest.fixture(scope="session")
def bright_cells() -> Callable[..., bytes]:
    """Makes the file of a picture whose faces are the given cells."""

    def make(*bright: int, kind: str = "PNG", size: int = SIZE, **options: Any) -> bytes:
        return encode(cells_image(*bright, size=size), kind, **options)

    return make


@pytest.fixture(scope="session")
def write_small_model() -> Callable[[Path], Path]:
    """Writes the small model into a store; returns its folder."""
    return write_model


def cells_of(answer: dict[str, Any]) -> set[int]:
    """Which cells were found in a picture of SIZE pixels, by an answer's JSON."""
    side = SIZE // CELLS
    boxes = [face["box"] for face in answer["faces"]]
    return {round(b["x"] / side) + 4 * round(b["y"] / side) for b in boxes}
