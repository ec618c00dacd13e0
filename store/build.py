"""Builds a model folder's ONNX files from its sources, and records what they were built from."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from convert.conversion import Options, convert_file, count_wide
from convert.outputs.kinds import Kind
from convert.outputs.preprocessing import ChannelOrder
from convert.report import Report
from sfd.distribution import VERSION
from sfd.files import temporary_beside, write_atomically
from store.int8 import Int8
from store.model import (
    BUILD_FILE,
    ONNX_FILE,
    Build,
    Model,
    ModelError,
    check,
    check_sources,
    read_build,
    recipe_hash,
)

Progress = Callable[[str], object]


def is_built(model: Model) -> bool:
    """Whether `model.onnx` exists, matches the sources, and was made by this converter version."""
    try:
        return check(model).converter == VERSION
    except ModelError:
        return False


def build(
    model: Model,
    *,
    verify: bool = True,
    progress: Progress = lambda _: None,
    warn: Callable[[str], object] = lambda _: None,
) -> Build:
    """Convert a folder's sources to its ONNX files in heads form and write `build.json`.

    Each warning of the converter is passed to `warn`, also that the file is unverified.

    A conversion that fails leaves all files as they were. Each file is written whole or not at all;
    if the process dies before the last, `check` reports that they don't match. Raises ModelError if
    the sources differ from `model.toml`, WriteError if the folder can't be written, and SfdError if
    the converter refuses the sources.
    """
    check_sources(model)
    options = conversion(model, verify=verify)
    further = _further(model, options)
    reports: dict[Path, Report] = {}
    with ExitStack() as stack:
        temporary = {path: stack.enter_context(temporary_beside(path)) for path in further}
        for path, changed in further.items():
            reports[path] = convert_file(
                model.deploy, model.weights, temporary[path], changed, progress
            )
        report = convert_file(model.deploy, model.weights, model.onnx, options, progress)
        for path in further:
            temporary[path].replace(path)
    for path in {model.second_look_onnx, model.cpu_onnx} - further.keys():
        path.unlink(missing_ok=True)
    pass_on(report, warn)
    return record(
        model,
        report,
        second_look=reports.get(model.second_look_onnx),
        cpu=reports.get(model.cpu_onnx),
    )


def _further(model: Model, options: Options) -> dict[Path, Options]:
    """The files beside `model.onnx`, and how each is converted."""
    found: dict[Path, Options] = {}
    if model.second_look is not None:
        side = model.second_look.side
        found[model.second_look_onnx] = replace(options, input_size=(side, side))
    if count_wide(model.deploy, model.weights, options):
        found[model.cpu_onnx] = replace(options, partition=True)
    return found


def pass_on(report: Report, warn: Callable[[str], object]) -> None:
    """Pass the warnings of a conversion to `warn`, also that the file is unverified."""
    for advice in report.advice(ONNX_FILE):
        warn(advice)


def conversion(model: Model, *, verify: bool = True, plain: bool = False) -> Options:
    """How a model is converted to heads form.

    `plain` keeps the convolutions of the prototxt: none is pruned, merged or widened.
    """
    return Options(
        output=Kind.HEADS,
        input_size=(model.input.height, model.input.width),
        channel_order=ChannelOrder(model.input.channel_order),
        mean=model.input.mean,
        scale=model.input.scale,
        name=model.name,
        class_names=model.classes,
        verify=verify,
        prune=not plain,
        merge=not plain,
        widen=not plain,
    )


def record(
    model: Model,
    report: Report,
    *,
    second_look: Report | None = None,
    cpu: Report | None = None,
) -> Build:
    """Write `build.json` for a `model.onnx`, and the networks beside it, just converted.

    What it says about `model.int8.onnx` stays: `check_int8` finds out if that is out of date.
    """
    made = Build(
        sha256=report.onnx_sha256,
        sources={
            "deploy": report.sources["prototxt"],
            "weights": report.sources["caffemodel"],
        },
        recipe=recipe_hash(model),
        converter=report.metadata["sfd.converter_version"],
        verification=report.metadata["sfd.verification"],
        int8=_int8_before(model),
        second_look=second_look.onnx_sha256 if second_look else None,
        cpu=cpu.onnx_sha256 if cpu else None,
    )
    write(model, made)
    return made


def write(model: Model, build: Build) -> None:
    """Write `build.json`."""
    text = json.dumps(build.json(), indent=2) + "\n"
    write_atomically(model.folder / BUILD_FILE, text.encode())


def _int8_before(model: Model) -> Int8 | None:
    try:
        return read_build(model).int8
    except ModelError:
        return None
