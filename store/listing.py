"""Lists a store's models and those that can be pulled, as text for people and JSON for programs."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from store.catalog import Catalog, Entry
from store.int8 import Int8
from store.model import (
    CPU_FILE,
    INT8_FILE,
    ONNX_FILE,
    SECOND_LOOK_FILE,
    Description,
    Model,
    ModelError,
    check,
    check_int8,
    load,
)
from store.record import Build

State = Literal["ready", "unusable", "available"]


@dataclass(frozen=True)
class Listed:
    """A line of the listing."""

    name: str
    state: State
    """`ready` to serve, installed but `unusable`, or `available` from the catalog."""
    problem: str = ""
    """Why the model, or only its int8 file, is unusable, and what to do."""
    description: Description | None = None
    """None if `model.toml` can't be read."""
    build: Build | None = None
    """How its `model.onnx` was made, if it is ready."""


def listing(folders: Iterable[Path], catalog: Catalog) -> tuple[Listed, ...]:
    """The models in these folders, then the catalog's other models. Every hash is checked."""
    installed = [examine(folder) for folder in folders]
    names = {listed.name for listed in installed}
    available = (
        Listed(name, "available", description=entry)
        for name, entry in sorted(catalog.items())
        if name not in names
    )
    return (*installed, *available)


def examine(folder: Path) -> Listed:
    """The state of one model folder."""
    try:
        model = load(folder)
    except ModelError as error:
        return Listed(folder.name, "unusable", str(error))
    try:
        build = check(model)
    except ModelError as error:
        return Listed(model.name, "unusable", str(error), model)
    return Listed(model.name, "ready", _int8_problem(model, build), model, build)


def _int8_problem(model: Model, build: Build) -> str:
    """Why the model's int8 file can't be served; empty if it can, or if there is none.

    The model is ready nevertheless: float32 doesn't use this file.
    """
    if build.int8 is None and not model.int8.exists():
        return ""
    try:
        check_int8(model, build)
    except ModelError as error:
        return str(error)
    return ""


def table(rows: Sequence[Listed]) -> str:
    """The listing in columns, followed by the problem of each unusable model."""
    cells = [("NAME", "STATE", "INPUT", "SCORE", "LICENCE", "TITLE")]
    for row in rows:
        about = row.description
        cells.append(
            (row.name, row.state, "?", "?", "?", "?")
            if about is None
            else (
                row.name,
                row.state,
                _size(about),
                f"{about.thresholds.default_score:g}",
                about.licence,
                about.title,
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    lines += [f"{row.name}: {row.problem}" for row in rows if row.problem]
    return "\n".join(lines)


def data(row: Listed) -> dict[str, Any]:
    """A line of the listing for JSON: the contents of `model.toml`, with `state` and `problem`."""
    about = row.description
    found: dict[str, Any] = {"name": row.name, "state": row.state, "problem": row.problem}
    if about is not None:
        kind = Entry if isinstance(about, Entry) else Description
        found = {**TypeAdapter(kind).dump_python(_plain(about), mode="json"), **found}
    if isinstance(about, Model):
        found["folder"] = str(about.folder)
    if row.build:
        found["build"] = row.build.json()
    return found


def card(row: Listed) -> str:
    """Everything about one model, for people."""
    return "\n".join(_card(row))


def _card(row: Listed) -> Iterator[str]:
    yield f"{row.name}: {row.state}" + (f" ({row.problem})" if row.problem else "")
    about = row.description
    if about is None:
        return
    yield about.title
    yield ""
    yield _wrapped(about.description)
    limits = about.thresholds
    yield ""
    facts: Mapping[str, str] = {
        "version": about.version,
        "licence": about.licence,
        "origin": _wrapped(about.origin),
        "classes": ", ".join(about.classes),
        "input": f"{_size(about)} (height x width), {about.input.channel_order}, "
        f"mean {', '.join(f'{value:g}' for value in about.input.mean)}, "
        f"scale {about.input.scale:g}",
        "thresholds": f"score {limits.default_score:g}, NMS IoU {limits.nms_iou:g}, "
        f"{limits.top_k} into NMS, {limits.keep_top_k} kept",
    }
    if about.second_look is not None:
        look = about.second_look
        facts = {
            **facts,
            "second look": f"at {look.side}x{look.side}, for faces from {look.min_side:g} pixels",
        }
    if isinstance(about, Model):
        facts = {**facts, "folder": str(about.folder)}
    if isinstance(about, Entry):
        facts = {**facts, "to fetch": f"{about.size:,} bytes"}
    for name, fact in facts.items():
        yield f"{name + ':':<13}{fact}"
    for source in about.sources.values():
        yield f"{'file:':<13}{source.file}, sha256 {source.sha256}"
    if row.build:
        yield f"{'file:':<13}{ONNX_FILE}, sha256 {row.build.sha256}"
        yield f"{'build:':<13}{row.build.verification}, by sfd {row.build.converter}"
        if row.build.cpu:
            yield f"{'file:':<13}{CPU_FILE}, sha256 {row.build.cpu}"
        if row.build.second_look:
            yield f"{'file:':<13}{SECOND_LOOK_FILE}, sha256 {row.build.second_look}"
        if row.build.int8:
            yield from _int8_card(row.build.int8)
    for result in about.results:
        values = ", ".join(f"{name} {value:g}" for name, value in result.values.items())
        yield f"{'result:':<13}{result.dataset}, {result.protocol}, {result.metric}:"
        yield f"{'':<13}{values or 'not yet measured'}" + (
            f" ({result.measured})" if result.measured else ""
        )


def _int8_card(int8: Int8) -> Iterator[str]:
    calibration, agreement, speed = int8.calibration, int8.agreement, int8.speed
    yield f"{'file:':<13}{INT8_FILE}, sha256 {int8.sha256}"
    yield f"{'int8:':<13}{calibration.method}, calibrated on {calibration.images} images"
    yield (
        f"{'':<13}{agreement.matched:.1%} of {agreement.faces} faces of {agreement.images} other "
        f"images matched, {agreement.extra} extra, IoU {agreement.iou_median:.3f} in the median, "
        f"{agreement.iou_p5:.3f} p5, scores differ by up to {agreement.score_difference:.3f}"
    )
    yield (
        f"{'':<13}{speed.ratio:.2f} times as fast as float32 ({speed.int8_ms:.1f} ms against "
        f"{speed.float32_ms:.1f} ms, threads {speed.threads}, {speed.processor})"
    )


def _plain(about: Description) -> Description:
    """Without the fields of a subclass of Description, except those of a catalog entry."""
    if isinstance(about, Entry):
        return about
    names = (field.name for field in dataclasses.fields(Description))
    return Description(**{name: getattr(about, name) for name in names})


def _size(about: Description) -> str:
    return f"{about.input.height}x{about.input.width}"


def _wrapped(text: str) -> str:
    return " ".join(text.split())
