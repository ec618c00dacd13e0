"""Adds a user's own Caffe detector to the store: converts, verifies and describes it."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from convert.conversion import convert_file
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.outputs.preprocessing import OnlyRawError
from convert.report import Report
from sfd.files import sha256
from store.build import Progress, convert_for_cpu, pass_on, record
from store.model import (
    ONNX_FILE,
    Description,
    Input,
    Model,
    ModelError,
    Source,
    Thresholds,
    load,
)
from store.staging import staged, write_description

DEPLOY_FILE = "deploy.prototxt"
WEIGHTS_FILE = "weights.caffemodel"


@dataclass(frozen=True)
class Card:
    """What the model's files don't say about it."""

    title: str = ""
    version: str = "1"
    licence: str = "not stated"
    origin: str = ""
    default_score: float = 0.5


def add(
    store: Path,
    name: str,
    prototxt: Path,
    caffemodel: Path,
    *,
    options: Options | None = None,
    card: Card | None = None,
    progress: Progress = lambda _: None,
    warn: Callable[[str], object] = lambda _: None,
) -> Model:
    """Create the model `store/name` from a deploy prototxt and its weights, and return it.

    Input, classes and thresholds come from the network unless `options` override them. Each warning
    of the converter is passed to `warn`, also that the file is unverified. Raises ModelError if the
    name is taken or invalid or the service can't serve the detector, and SfdError if the converter
    refuses the files. The store is unchanged then.
    """
    card = card or Card()
    with staged(store, name) as folder:
        made = replace(options or Options(), output=Kind.HEADS, name=name)
        try:
            report = convert_file(prototxt, caffemodel, folder / ONNX_FILE, made, progress)
        except OnlyRawError as error:
            # In `sfd convert` another option helps. Here the file is wrong.
            raise ModelError(f"{prototxt}: {error}") from error
        pass_on(report, warn)
        names = json.loads(report.metadata["sfd.class_names"])
        if len(names) != 1:
            raise ModelError(
                f"{prototxt} detects {len(names)} classes, but the service serves only detectors "
                "of one class. Use `sfd convert` instead"
            )
        cpu = convert_for_cpu(prototxt, caffemodel, folder, made, report, progress, warn)
        sources = {
            "deploy": _copied(prototxt, folder / DEPLOY_FILE, report.sources["prototxt"]),
            "weights": _copied(caffemodel, folder / WEIGHTS_FILE, report.sources["caffemodel"]),
        }
        # A name need not be UTF-8, but the description is.
        names = f"{prototxt.name} and {caffemodel.name}".encode(errors="replace").decode()
        origin = card.origin or f"added from {names}"
        write_description(describe(report, name, sources, replace(card, origin=origin)), folder)
        record(load(folder), report, cpu=cpu)
    return load(store / name)


def describe(report: Report, name: str, sources: Mapping[str, Source], card: Card) -> Description:
    """The contents of `model.toml`, from a conversion's report and the user's card."""
    found = {key.removeprefix("sfd."): value for key, value in report.metadata.items()}
    height, width = map(int, found["input_size"].split("x"))
    title = card.title or name
    return Description(
        name=name,
        version=card.version,
        title=title,
        description=f"{title}, a network of {report.parameters:,} parameters.",
        licence=card.licence,
        origin=card.origin,
        classes=tuple(json.loads(found["class_names"])),
        input=Input(
            height=height,
            width=width,
            channels=1 if found["channels"] == "1" else 3,
            channel_order=found["channel_order"],  # type: ignore[arg-type]  # pydantic checks it
            mean=tuple(map(float, found["mean"].split(","))),
            scale=float(found["scale"]),
        ),
        thresholds=Thresholds(
            default_score=card.default_score,
            # IoU is never above 1, so a larger threshold means the same as 1: it suppresses
            # nothing.
            nms_iou=min(float(found["nms_threshold"]), 1.0),
            top_k=int(found["top_k"]),
            keep_top_k=int(found["keep_top_k"]),
        ),
        sources=sources,
    )


def _copied(source: Path, target: Path, expected: str) -> Source:
    shutil.copyfile(source, target)
    if sha256(target) != expected:
        raise ModelError(f"{source}: changed while it was being converted; try again")
    return Source(file=target.name, sha256=expected)
