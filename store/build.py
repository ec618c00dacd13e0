"""Builds a model folder's `model.onnx`, and records what it was made from."""

import json
from collections.abc import Callable

from pydantic import TypeAdapter

from convert.conversion import Options, convert
from convert.outputs.kinds import Kind
from convert.outputs.preprocessing import ChannelOrder
from convert.report import Report
from sfd.distribution import VERSION
from sfd.files import write_atomically
from store.model import (
    BUILD_FILE,
    Build,
    Model,
    ModelError,
    check,
    check_sources,
    recipe_hash,
)

Progress = Callable[[str], object]


def is_built(model: Model) -> bool:
    """Whether `model.onnx` exists, fits the sources, and was made by this converter."""
    try:
        return check(model).converter == VERSION
    except ModelError:
        return False


def build(model: Model, *, verify: bool = True, progress: Progress = lambda _: None) -> Build:
    """Convert a folder's sources to `model.onnx` in heads form and write `build.json`.

    Each file is written completely or not at all. If the process dies between the two, `check`
    finds that they do not match. Raises ModelError for sources that differ from `model.toml`, and
    SfdError if the converter refuses them.
    """
    check_sources(model)
    options = Options(
        output=Kind.HEADS,
        input_size=(model.input.height, model.input.width),
        channel_order=ChannelOrder(model.input.channel_order),
        mean=model.input.mean,
        scale=model.input.scale,
        name=model.name,
        class_names=model.classes,
        verify=verify,
    )
    report = convert(model.deploy, model.weights, model.onnx, options, progress)
    return record(model, report)


def record(model: Model, report: Report) -> Build:
    """Write `build.json` for a `model.onnx` that a conversion has just written."""
    made = Build(
        sha256=report.onnx_sha256,
        sources={
            "deploy": report.sources["prototxt"],
            "weights": report.sources["caffemodel"],
        },
        recipe=recipe_hash(model),
        converter=report.metadata["sfd.converter_version"],
        verification=report.metadata["sfd.verification"],
    )
    text = json.dumps(TypeAdapter(Build).dump_python(made, mode="json"), indent=2) + "\n"
    write_atomically(model.folder / BUILD_FILE, text.encode())
    return made
