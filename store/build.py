"""Builds a model folder's ONNX files from its sources, and records what they were built from."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from convert.conversion import VerificationError, convert_file
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.outputs.preprocessing import ChannelOrder
from convert.report import Report
from sfd.files import WriteError, put, write_atomically
from store.int8 import Int8
from store.model import (
    BUILD_FILE,
    CPU_FILE,
    ONNX_FILE,
    SECOND_LOOK_FILE,
    Model,
    ModelError,
    check,
    check_sources,
    read_build,
    recipe_hash,
)
from store.record import Build

Progress = Callable[[str], object]


def is_built(model: Model) -> bool:
    """Whether the ONNX files exist, match the sources, and are those of this converter version."""
    try:
        return check(model).is_latest
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

    A conversion that fails leaves all files as they were. All files are converted before the first
    one is moved to its place; if the process dies between two, `check` reports that they don't
    match. Raises ModelError if the sources differ from `model.toml`, WriteError if the folder can't
    be written, and SfdError if the converter refuses the sources.
    """
    check_sources(model)
    options = conversion(model, verify=verify)
    with _moved_to(model.folder) as folder:
        sources = model.deploy, model.weights
        report = convert_file(*sources, folder / ONNX_FILE, options, progress)
        second = None
        if model.second_look is not None:
            side = model.second_look.side
            smaller = replace(options, input_size=(side, side))
            second = convert_file(*sources, folder / SECOND_LOOK_FILE, smaller, progress)
        cpu = convert_for_cpu(*sources, folder, options, report, progress, warn)
    for path, made in ((model.second_look_onnx, second), (model.cpu_onnx, cpu)):
        if made is None:
            path.unlink(missing_ok=True)
    pass_on(report, warn)
    return record(model, report, second_look=second, cpu=cpu)


def convert_for_cpu(
    prototxt: Path,
    caffemodel: Path,
    folder: Path,
    options: Options,
    whole: Report,
    progress: Progress,
    warn: Callable[[str], object],
) -> Report | None:
    """Write `model.cpu.onnx` into a folder, for a network that was converted as `whole`.

    None, and no file, if the network has no wide values. None and a warning if the file is not
    verified as `whole` is: a model runs without it.
    """
    if not whole.wide:
        return None
    path = folder / CPU_FILE
    in_parts = replace(options, partition=True)
    try:
        report = convert_file(prototxt, caffemodel, path, in_parts, progress)
        verification = report.verification
    except VerificationError as error:
        verification = error.report.verification
    if verification.status is whole.verification.status:
        return report
    path.unlink(missing_ok=True)
    warn(f"{CPU_FILE} is left out, so a CPU runs {ONNX_FILE}: {verification}")
    return None


@contextmanager
def _moved_to(target: Path) -> Iterator[Path]:
    """An empty folder. Its files move to `target` when the block ends, and none if it fails."""
    try:
        around = TemporaryDirectory(prefix=".build-", suffix=".tmp", dir=target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    with around as name:
        yield Path(name)
        try:
            for path in sorted(Path(name).iterdir()):
                put(path, target / path.name)
        except OSError as error:
            raise _cannot_write(target, error) from error


def _cannot_write(target: Path, error: OSError) -> WriteError:
    return WriteError(f"can't write into {target}: {error.strerror or error}")


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

    What it says about `model.int8.onnx` stays if there is one: `check_int8` finds out if that is
    out of date.
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
        wide=bool(report.wide),
    )
    write(model, made)
    return made


def write(model: Model, build: Build) -> None:
    """Write `build.json`."""
    text = json.dumps(build.json(), indent=2) + "\n"
    write_atomically(model.folder / BUILD_FILE, text.encode())


def _int8_before(model: Model) -> Int8 | None:
    try:
        return read_build(model).int8 if model.int8.exists() else None
    except ModelError:
        return None
