"""One conversion from files to file: read, translate, check, verify, and only then write."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
from onnx import helper

from convert.caffe import network as caffe_network
from convert.caffe.network import Diagnostic, Network
from convert.files import check_output, write_atomically
from convert.metadata import class_names, metadata, sha256
from convert.outputs.kinds import Built, Kind, build, check_input, default_kind
from convert.outputs.preprocessing import ChannelOrder, Preprocessing
from convert.outputs.stated import differences
from convert.report import Report, Status, Verification
from convert.verify import verify
from sfd.errors import SfdError, UsageError

LARGEST_SIDE = 16_384
"""Of an input, in pixels: a damaged prototxt shall not fill the memory with priors."""
STEPS = ("reading", "translating", "checking", "OpenCV", "noise", "constant", "gradient", "impulse",
         "scene", "batch", "writing")  # fmt: skip
"""What `progress` is told, in order; those from OpenCV to batch only with verification."""

NOT_ASKED = "verification was switched off"


@dataclass(frozen=True, slots=True)
class Options:
    """What a conversion can be told; None means what the model or Caffe's custom suggests."""

    output: Kind | None = None
    input_size: tuple[int, int] | None = None
    """Height and width."""
    channel_order: ChannelOrder | None = None
    mean: tuple[float, ...] | None = None
    """In the network's channel order; one value, or one for each channel."""
    scale: float = 1.0
    name: str | None = None
    class_names: tuple[str, ...] | None = None
    verify: bool = True


class ConversionError(SfdError):
    """The conversion can't be made."""


class VerificationError(ConversionError):
    """The file does not compute what OpenCV computes; `report` has every comparison."""

    def __init__(self, report: Report) -> None:
        super().__init__(
            f"verification failed, no file written: {report.verification.reason}; see --report "
            "for every comparison, or take the file unverified with --no-verify"
        )
        self.report = report


def convert(
    prototxt: Path,
    caffemodel: Path,
    output: Path,
    options: Options = Options(),
    progress: Callable[[str], object] = lambda _: None,
) -> Report:
    """Convert a Caffe model to one ONNX file at `output`, which appears whole or not at all.

    Raises CaffeError and TranslationError with all problems of the sources, UsageError for
    options that don't fit the model, VerificationError, ConversionError for files that can't be
    meant, and WriteError. `progress` is told of each of STEPS as it begins.
    """
    clock = _Clock(progress)
    check_output(output, "ONNX file", (prototxt, caffemodel))
    with clock.step("reading"):
        network = caffe_network.load(prototxt, caffemodel, input_size=options.input_size)
        sources = {"prototxt": sha256(prototxt), "caffemodel": sha256(caffemodel)}
    with clock.step("translating"):
        name = options.name or network.name or "caffe"
        built = _build(network, options, name)
        names = class_names(built, options.class_names)
    with clock.step("checking"):
        _check(built.model)
    if options.verify:
        with clock.time("verifying"):
            verification = verify(built, _read(caffemodel), progress)
    else:
        verification = Verification(Status.UNVERIFIED, NOT_ASKED)
    properties = metadata(built, name, names, sources, verification)
    helper.set_model_props(built.model, properties)
    content = built.model.SerializeToString(deterministic=True)
    report = _report(built, name, sources, properties, content, network, verification, clock)
    if verification.status is Status.FAILED:
        raise VerificationError(report)
    with clock.step("writing"):
        write_atomically(output, content)
    return report


class _Clock:
    """How long each step took."""

    def __init__(self, progress: Callable[[str], object]) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._progress(name)
        with self.time(name):
            yield

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 4)


def _build(network: Network, options: Options, name: str) -> Built:
    check_input(network)
    channels, height, width = next(iter(network.inputs.values()))[1:]
    if max(height, width) > LARGEST_SIDE:
        raise ConversionError(
            f"the input is {height}x{width}, but a side can have {LARGEST_SIDE} pixels at most: "
            "give --input-size, or correct the prototxt"
        )
    kind = options.output or default_kind(network)
    preprocessing = None
    if kind is not Kind.RAW:
        preprocessing = Preprocessing.of(
            channels, options.channel_order, options.mean, options.scale
        )
    elif options.mean is not None or options.channel_order is not None or options.scale != 1:
        raise UsageError(
            "--mean, --scale and --channel-order don't go with raw output, whose input is what "
            "Caffe was fed: leave them out, or choose --output heads or detections"
        )
    return build(network, kind, preprocessing, name)


def _check(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        detail = " ".join(str(error).split())
        raise ConversionError(f"the graph fails ONNX's own check, please report it: {detail}")  # noqa: B904


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConversionError(f"can't read {path}: {error.strerror or error}") from error


def _warnings(network: Network, built: Built) -> list[Diagnostic]:
    warnings = list(network.warnings)
    if built.preprocessing:
        warnings += differences(network, built.preprocessing)
    if network.training_layers:
        names = ", ".join(layer.name for layer in network.training_layers)
        warnings.append(
            Diagnostic(f"left out, since they only serve training and testing: {names}")
        )
    return warnings


def _report(
    built: Built,
    name: str,
    sources: dict[str, str],
    properties: dict[str, str],
    content: bytes,
    network: Network,
    verification: Verification,
    clock: _Clock,
) -> Report:
    graph = built.model.graph
    tensors = {value.name: value for value in (*graph.input, *graph.output)}
    shapes: dict[str, list[int | str]] = {
        key: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for key, value in tensors.items()
    }
    image = graph.input[0].name
    return Report(
        name=name,
        kind=str(built.kind),
        input={"name": image, "shape": shapes[image]},
        outputs={output.name: shapes[output.name] for output in graph.output},
        layers=len(network.layers),
        nodes=len(graph.node),
        parameters=sum(blob.size for layer in network.layers for blob in layer.blobs),
        sources=sources,
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        metadata=properties,
        versions={
            "sfd": properties["sfd.converter_version"],
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        warnings=tuple(map(str, _warnings(network, built))),
        verification=verification,
        seconds=clock.seconds,
    )
