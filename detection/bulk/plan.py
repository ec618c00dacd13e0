"""What a job does: written once, and compared when the job starts again."""

import hashlib
import json
from dataclasses import asdict, fields
from functools import cached_property
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from detection.bulk.settings import BulkSettings
from detection.detector import Query
from detection.precision import Precision
from detection.settings import variable
from sfd.errors import UsageError
from store.model import Model
from store.record import Build

_STRICT = ConfigDict(extra="forbid")

Kind = Literal["folder", "list", "paths", "bytes"]
"""A folder of pictures, a list of names, or a table with a column of names or of bytes."""


@dataclass(frozen=True, config=_STRICT)
class TableFile:
    """One file of a table."""

    name: str
    rows: int


@dataclass(frozen=True, config=_STRICT)
class SourcePlan:
    """Where the pictures are, and which."""

    kind: Kind
    name: str
    """An absolute path, or a URL."""
    pictures: int
    base: str
    """The folder to which the names in a list or a table are relative."""
    fingerprint: str
    """SHA-256 of the names, or of the footers of a table's files."""
    column: str | None = None
    key: str | None = None
    files: tuple[TableFile, ...] = ()
    """The files of a table of bytes."""


@dataclass(frozen=True, config=_STRICT)
class ModelPlan:
    """The model. Its limits are in `model.toml` and not in the file of this hash."""

    name: str
    version: str
    sha256: str
    """Of `model.onnx`."""
    top_k: int
    keep_top_k: int
    int8_sha256: str | None = None
    """Of `model.int8.onnx`, if the job runs it."""
    second_look_sha256: str | None = None
    """Of the second look's network and rules, if the job uses it."""


_LATER = ("int8_sha256", "second_look_sha256")
"""Fields of a ModelPlan that the first plans did not have."""


@dataclass(frozen=True, config=_STRICT)
class Options:
    """The thresholds and limits that decide what a row says."""

    min_score: float
    nms_iou: float
    max_faces: int | None
    min_size: float
    tiles: bool
    max_bytes: int
    max_pixels: int
    reduced_decoding: bool | Literal["auto"]
    precision: str
    second_look: bool = False
    """False for a job of an sfd that had no second look."""

    @property
    def query(self) -> Query:
        """The same for a detector."""
        return Query(
            min_score=self.min_score,
            nms_iou=self.nms_iou,
            max_faces=self.max_faces,
            min_size=self.min_size,
            tiles=self.tiles,
        )


@dataclass(frozen=True, config=_STRICT)
class Plan:
    """Everything that the rows depend on.

    The same source, model and options give the same plan, so jobs that start together in one folder
    write the same files.
    """

    source: SourcePlan
    shard_size: int
    """Pictures in each shard; the last one may have fewer."""
    model: ModelPlan
    options: Options
    format: Literal[1] = 1

    @cached_property
    def id(self) -> str:
        """A hash of the plan, which is in the name of each result file."""
        plan = asdict(self)
        for name in _LATER:
            if plan["model"][name] is None:
                del plan["model"][name]  # as when there was no such field
        return _hash(plan)

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.source.pictures // self.shard_size)

    def pictures_in(self, shard: int) -> int:
        """How many pictures a shard has."""
        return min(self.shard_size, self.source.pictures - shard * self.shard_size)

    def to_json(self) -> bytes:
        """The contents of plan.json."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


def read(content: bytes, folder: str) -> Plan:
    """The plan in the contents of plan.json. Raises UsageError if it is not one."""
    try:
        return TypeAdapter(Plan).validate_python(json.loads(content))
    except (ValidationError, ValueError, RecursionError):
        raise UsageError(
            f"--out {folder}: its plan.json is broken or from another version of sfd; choose "
            "another folder"
        ) from None


def model_plan(model: Model, build: Build, settings: BulkSettings) -> ModelPlan:
    """The part of the plan that describes a model."""
    limits = model.thresholds
    int8 = build.int8 if settings.precision is Precision.INT8 else None
    look = model.second_look if settings.second_look else None
    return ModelPlan(
        name=model.name,
        version=model.version,
        sha256=build.sha256,
        top_k=limits.top_k,
        keep_top_k=limits.keep_top_k,
        int8_sha256=int8.sha256 if int8 else None,
        second_look_sha256=_hash([build.second_look, asdict(look)]) if look else None,
    )


def model_changes(before: ModelPlan, now: ModelPlan) -> list[str]:
    """What is different, except what a job of an earlier sfd did not write down."""
    unknown = tuple(name for name in _LATER if getattr(before, name) is None)
    return _changes("model ", before, now, leave_out=unknown)


def options(query: Query, model: Model, settings: BulkSettings) -> Options:
    """The options of a job, with the model's thresholds where the user gave none."""
    own = model.thresholds
    return Options(
        min_score=own.default_score if query.min_score is None else query.min_score,
        nms_iou=own.nms_iou if query.nms_iou is None else query.nms_iou,
        max_faces=query.max_faces,
        min_size=query.min_size,
        tiles=query.tiles,
        max_bytes=settings.max_bytes,
        max_pixels=settings.max_pixels,
        reduced_decoding=settings.reduced_decoding,
        precision=settings.precision,
        second_look=settings.second_look and model.second_look is not None,
    )


def check_same(before: Plan, now: Plan, folder: str) -> None:
    """Raise UsageError, which says what changed, unless both plans are the same."""
    changes = [*_source_changes(before.source, now.source)]
    if before.shard_size != now.shard_size:
        changes.append(f"shard_size {before.shard_size} before, {now.shard_size} now")
    changes += model_changes(before.model, now.model)
    changes += _changes("", before.options, now.options)
    if changes:
        again = "choose another --out, or start it as before"
        if before.source != now.source:
            again += " (--keep-listing goes on with the pictures listed at the first start)"
        raise UsageError(f"--out {folder} has another job: {'; '.join(changes)}: {again}")


def _source_changes(before: SourcePlan, now: SourcePlan) -> list[str]:
    changes = _changes("source ", before, now, leave_out=("fingerprint", "files"))
    same = before.fingerprint == now.fingerprint and before.files == now.files
    return changes if changes or same else ["other pictures in the source now"]


def _changes(whose: str, before: object, now: object, leave_out: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{whose}{_shown(field.name)} {_text(old)} before, {_text(new)} now"
        for field in fields(before)  # type: ignore[arg-type]
        if field.name not in leave_out
        and (old := getattr(before, field.name)) != (new := getattr(now, field.name))
    ]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _shown(name: str) -> str:
    """The variable of an option that is a setting, so that the user can set it as before."""
    return variable(name) if name in BulkSettings.model_fields else name


def _text(value: object) -> str:
    if isinstance(value, str) and len(value) == 64:
        return value[:12]
    if isinstance(value, bool):
        return str(value).lower()
    return "not set" if value is None else str(value)
