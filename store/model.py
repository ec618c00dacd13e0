"""A model folder as data: the contents of `model.toml`, and a check that the files match it.

The service imports this module, so it needs neither the converter nor its libraries.
"""

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from sfd.errors import SfdError
from sfd.files import may_be_file, open_regular, sha256
from sfd.validation import words
from store.fields import STRICT, Fraction, Sha256
from store.record import Build

MODEL_FILE = "model.toml"
ONNX_FILE = "model.onnx"
CPU_FILE = "model.cpu.onnx"
INT8_FILE = "model.int8.onnx"
SECOND_LOOK_FILE = "model.second_look.onnx"
BUILD_FILE = "build.json"
NAME_PATTERN = r"[a-z0-9][a-z0-9._-]*"

Name = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$", max_length=100)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
MOST_PIXELS = 8192
Pixels = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
Limit = Annotated[int, Field(ge=-1)]


class ModelError(SfdError):
    """A model is missing, its description is wrong, or its files do not match their hashes."""


@dataclass(frozen=True, config=STRICT)
class Input:
    """The image that a network takes, and Caffe's preprocessing: (pixel - mean) * scale."""

    height: Pixels
    width: Pixels
    channels: Literal[1, 3]
    channel_order: Literal["bgr", "rgb", "gray"]
    """The channel order of the Caffe network; the ONNX file always takes RGB or gray."""
    mean: tuple[float, ...]
    """One value for each channel, 0-255, in `channel_order`."""
    scale: float = 1.0

    def __post_init__(self) -> None:
        if (self.channels == 1) != (self.channel_order == "gray"):
            raise ValueError("channels must be 1 if channel_order is 'gray', and only then")
        if len(self.mean) != self.channels:
            raise ValueError(f"mean has {len(self.mean)} values for {self.channels} channels")

    @property
    def mean_rgb(self) -> tuple[int, int, int]:
        """The mean colour as whole red, green and blue values 0-255; letterboxing pads with it."""
        red, green, blue = {
            "bgr": self.mean[::-1],
            "rgb": self.mean,
            "gray": self.mean * 3,
        }[self.channel_order]
        return _byte(red), _byte(green), _byte(blue)


@dataclass(frozen=True, config=STRICT)
class Thresholds:
    """The thresholds that turn priors into detections, all applied after inference."""

    default_score: Fraction
    nms_iou: Fraction
    top_k: Limit
    """How many of the best candidates enter NMS; -1 means all."""
    keep_top_k: Limit
    """How many detections an image keeps after NMS; -1 means all."""


@dataclass(frozen=True, config=STRICT)
class SecondLook:
    """A second inference on a smaller copy of an image, for faces that nearly fill it.

    For networks that find small and medium faces better than large ones. `detection.second_look`
    says how it works.
    """

    side: Pixels
    """Width and height of the second input; it takes a network of its own."""
    scale: Annotated[float, Field(gt=0, le=1)]
    """Pixels of the copy for one pixel of the first input."""
    min_side: Annotated[float, Field(ge=0)]
    """Shortest side of a large face, in pixels of the first input. Smaller faces of the second look
    do not count."""
    trigger: Fraction
    """There is a second look if the first predicts a large face with a score above this."""


@dataclass(frozen=True, config=STRICT)
class Source:
    """A file of the model folder and its hash."""

    file: FileName
    sha256: Sha256


@dataclass(frozen=True, config=STRICT)
class Result:
    """What was measured, on what and how. Without values, nothing was measured yet."""

    dataset: Text
    protocol: Text
    metric: Text = "average precision at IoU 0.5"
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    measured: str = ""
    """When it was measured, and by whom."""


@dataclass(frozen=True, config=STRICT)
class Description:
    """The contents of `model.toml`."""

    name: Name
    version: Text
    title: Text
    description: Text
    licence: Text
    origin: Text
    classes: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Names of the foreground classes, in the order of the `scores` output."""
    input: Input
    thresholds: Thresholds
    sources: Mapping[str, Source]
    """By role: `deploy` and `weights` always; `train`, `test` and `solver` if they are known."""
    results: tuple[Result, ...] = ()
    second_look: SecondLook | None = None

    def __post_init__(self) -> None:
        for role in ("deploy", "weights"):
            if role not in self.sources:
                raise ValueError(f"sources.{role} is missing")
        look = self.second_look
        if look and max(self.input.height, self.input.width) * look.scale > look.side:
            raise ValueError("second_look: the copy of the image is larger than its side")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(Description):
    """A model's description and its folder."""

    folder: Path

    @property
    def onnx(self) -> Path:
        """Path of the converted network, once it is built."""
        return self.folder / ONNX_FILE

    @property
    def cpu_onnx(self) -> Path:
        """Path of the network for CPUs, whose wide values are computed in parts, if it has any."""
        return self.folder / CPU_FILE

    @property
    def int8(self) -> Path:
        """Path of the network in int8, once `sfd models quantize` has made it."""
        return self.folder / INT8_FILE

    @property
    def second_look_onnx(self) -> Path:
        """Path of the network of the second look, if there is one and once it is built."""
        return self.folder / SECOND_LOOK_FILE

    @property
    def deploy(self) -> Path:
        """Path of the prototxt that is converted."""
        return self.folder / self.sources["deploy"].file

    @property
    def weights(self) -> Path:
        """Path of the caffemodel that is converted."""
        return self.folder / self.sources["weights"].file

    @classmethod
    def of(cls, description: Description, folder: Path) -> Self:
        """Combine a description with its folder."""
        fields = dataclasses.fields(description)
        return cls(**{f.name: getattr(description, f.name) for f in fields}, folder=folder)


def load(folder: Path) -> Model:
    """Read and validate a model folder's `model.toml`. ModelError gives the file and the key.

    The model's files are not read: `check` does that.
    """
    path = folder / MODEL_FILE
    try:
        with open_regular(path) as file:
            data = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            f"no model {folder.name!r} in {folder.parent} (`sfd models list` shows what is there)"
        ) from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path}: is not valid TOML: {_line(error)}") from None
    try:
        description = TypeAdapter(Description).validate_python(data)
    except ValidationError as error:
        raise ModelError(f"{path}: {problems(error)}") from None
    if description.name != folder.name:
        raise ModelError(
            f"{path}: name is {description.name!r}, but its folder is {folder.name!r}; "
            "make them the same"
        )
    return Model.of(description, folder)


def find(store: Path) -> tuple[Path, ...]:
    """The model folders of a store, by name, without those that are still being written."""
    try:
        entries = sorted(store.iterdir())
    except FileNotFoundError:
        raise ModelError(
            f"the model store {store} does not exist; set SFD_MODEL_STORE, or give --store DIR"
        ) from None
    except OSError as error:
        raise ModelError(f"the model store {store}: {error.strerror or error}") from None
    return tuple(
        entry
        for entry in entries
        if re.fullmatch(NAME_PATTERN, entry.name) and may_be_file(entry / MODEL_FILE)
    )


def folder_of(store: Path, name: str) -> Path:
    """The folder of a model by its name. Raises ModelError unless it is a plain name."""
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > 100:
        raise ModelError(
            f"{name!r} is not a model name: use lowercase letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit"
        )
    return store / name


def check(model: Model) -> Build:
    """Compare every file of a model with its hash, and return how `model.onnx` was built.

    Raises ModelError if a source does not match `model.toml`, if `model.onnx`, the network for CPUs
    or that of the second look is missing or does not match `build.json`, or if `build.json` was
    made from other sources.
    """
    check_sources(model)
    build = read_build(model)
    again = f"run `sfd models build {model.name}`"
    if not is_current(model, build):
        raise ModelError(f"{model.onnx}: was built from other sources or settings; {again}")
    _check_hash(model.onnx, build.sha256, again)
    if build.cpu is not None:
        _check_hash(model.cpu_onnx, build.cpu, again)
    if build.second_look is not None:
        _check_hash(model.second_look_onnx, build.second_look, again)
    return build


def check_int8(model: Model, build: Build) -> None:
    """Compare `model.int8.onnx` with its hash, for a build that `check` returned.

    Raises ModelError if `build.json` does not mention it, or if it is missing, does not match, or
    was made from another `model.onnx`.
    """
    again = f"run `{quantizing(model)}`"
    if build.int8 is None:
        raise ModelError(f"{model.folder / BUILD_FILE}: does not mention {INT8_FILE}; {again}")
    if build.int8.source != build.sha256:
        raise ModelError(f"{model.int8}: was made from another {ONNX_FILE}; {again}")
    _check_hash(model.int8, build.int8.sha256, again)


def quantizing(model: Model) -> str:
    """The command that makes a model's int8 file, or makes it again."""
    force = " --force" if model.int8.exists() else ""
    return f"sfd models quantize {model.name} --images DIR{force}"


def _check_hash(path: Path, expected: str, again: str) -> None:
    try:
        found = sha256(path)
    except FileNotFoundError:
        raise ModelError(f"{path}: is missing; {again}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    if found != expected:
        raise ModelError(f"{path}: does not match its sha256 in {BUILD_FILE}; {again}")


def check_sources(model: Model) -> None:
    """Compare the sources of a model with `model.toml`. ModelError lists all that differ."""
    wrong = []
    for source in model.sources.values():
        try:
            found = sha256(model.folder / source.file)
        except FileNotFoundError:
            wrong.append(f"{source.file} is missing")
        except OSError as error:
            wrong.append(f"{source.file} cannot be read ({error.strerror or error})")
        else:
            if found != source.sha256:
                wrong.append(f"{source.file} does not match its sha256 in {MODEL_FILE}")
    if wrong:
        raise ModelError(
            f"{model.folder}: {'; '.join(wrong)}: get the file again (for a pulled model, delete "
            "the folder and pull it again)"
        )


def read_build(model: Model) -> Build:
    """Read `build.json`. Raises ModelError if it is missing or invalid."""
    path = model.folder / BUILD_FILE
    again = f"run `sfd models build {model.name}`"
    try:
        return TypeAdapter(Build).validate_python(json.loads(_read(path)))
    except FileNotFoundError:
        raise ModelError(f"{model.folder}: is not built yet; {again}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValidationError, ValueError, RecursionError):
        raise ModelError(f"{path}: is broken; {again}") from None


def _read(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


def is_current(model: Model, build: Build) -> bool:
    """Whether a build was made from the current sources and settings of `model.toml`."""
    sources = {role: model.sources[role].sha256 for role in ("deploy", "weights")}
    return (
        build.sources == sources
        and build.recipe == recipe_hash(model)
        and (build.second_look is None) == (model.second_look is None)
    )


def recipe_hash(model: Description) -> str:
    """SHA-256 of the settings in `model.toml` that a conversion uses.

    Thresholds are applied after inference: changing one needs no new build.
    """
    recipe = TypeAdapter(Description).dump_python(
        model, mode="json", include={"name", "classes", "input"}
    )
    if model.second_look is not None:
        recipe["second_look"] = model.second_look.side
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def problems(error: ValidationError) -> str:
    """All errors of a validation in one line, each with its key."""
    listed = []
    for problem in error.errors(include_url=False):
        key = ".".join(map(str, problem["loc"]))
        message = words(problem)
        listed.append(f"{key}: {message}" if key else message)
    return _line("; ".join(listed))


def _line(message: object) -> str:
    return " ".join(str(message).split())


def _byte(value: float) -> int:
    return min(255, max(0, round(value)))
