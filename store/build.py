"""Builds a model folder's `model.onnx` from its sources, and records what it was built from."""

import json
from collections.abc import Callable

from pydantic import TypeAdapter

from convert.conversion import Options, convert_file
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
    """Whether `model.onnx` exists, matches the sources, and was made by this converter version."""
    try:
        return check(model).converter == VERSION
    except ModelError:
        return False


def build(model: Model, *, verify: bool = True, progress: Progress = lambda _: None) -> Build:
    """Convert a folder's sources to `model.onnx` in heads form and write `build.json`.

    Each file is written whole or not at all. If the process dies between the two, `check` reports
    that they don't match. Raises ModelError if the sources differ from `model.toml`, and SfdError
    if the converter refuses them.
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
    report = convert_file(model.deploy, model.weights, model.onnx, options, progress)
    return record(model, report)


def record(model: Model, report: Report) -> Build:
    """Write `build.json` for a `model.onnx` that was just converted."""
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
