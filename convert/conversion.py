"""One conversion: read the files, translate, check, verify, and only then write the result."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from convert.caffe import network as caffe_network
from convert.caffe import weights
from convert.caffe.network import CaffeError, Diagnostic, Network
from convert.caffe.wire import release
from convert.explanation import Explanation, explain
from convert.files import check_output, check_source
from convert.graph import BATCH
from convert.metadata import class_names, metadata
from convert.options import DEFAULTS, Options, checked
from convert.outputs.kinds import Built, Kind, build, default_kind, input_problems
from convert.outputs.preprocessing import ChannelOrder, Preprocessing
from convert.outputs.stated import differences, fractions
from convert.report import NOT_ASKED, Report, Status, Verification
from convert.simulation import simulate
from convert.storage import stored
from convert.translate import input_shapes, problems_of
from convert.verify import verify
from convert.verify.smaller_input import reduced
from sfd.errors import SfdError, UsageError
from sfd.files import scratch, sha256

LARGEST_SIDE = 16_384
"""The longest side of an input in pixels, so that a damaged prototxt does not fill the memory."""
STEPS = (
    "reading", "simulating", "hashing", "translating", "storing", "checking",
    "OpenCV", "batch", "noise", "constant", "gradient", "impulse", "scene",
    "writing",
)  # fmt: skip
"""The step names that `progress` gets, in order. "simulating" occurs only without weights, and the
steps from OpenCV to scene only with verification."""


class ConversionError(SfdError):
    """The model can't be converted; the message says why."""


class VerificationError(ConversionError):
    """The model does not compute what its reference computes; `report` has every comparison."""

    def __init__(self, report: Report) -> None:
        super().__init__(
            f"verification failed, no file written: {report.verification.reason}; --report lists "
            "every comparison, and --no-verify writes the file unverified"
        )
        self.report = report


# What overflows is checked where it matters; NumPy would warn on stderr.
@np.errstate(all="ignore")
def convert_file(
    prototxt: Path,
    caffemodel: Path | None,
    output: Path,
    options: Options = DEFAULTS,
    progress: Callable[[str], object] = lambda _: None,
) -> Report:
    """Convert a Caffe model to one ONNX file at `output`, which appears whole or not at all.

    Weights of more than 2 GiB, which a protobuf message can't hold, go into `output`.data. Without
    a caffemodel, `options.simulated_weights` must give a seed. `progress` is called with each of
    STEPS as it begins.

    Raises CaffeError and TranslationError with all problems of the sources, UsageError for
    options or paths that don't fit, ConversionError, VerificationError, and WriteError.
    """
    clock = _Clock(progress)
    options = checked(options)
    if caffemodel is None and options.simulated_weights is None:
        raise UsageError("the weights are missing: give the .caffemodel, or --simulate-weights 1")
    if caffemodel is not None and options.simulated_weights is not None:
        raise UsageError("--simulate-weights takes the place of the .caffemodel: leave one out")
    sources = (prototxt,) if caffemodel is None else (prototxt, caffemodel)
    output = check_output(output, "ONNX file", sources)
    for source in sources:
        check_source(source)
    with clock.step("reading"):
        # The translation reports missing weights together with its own problems.
        network, problems = _read(prototxt, caffemodel, options)
        if problems:
            raise CaffeError(str(prototxt), [*problems, *problems_of(network, problems)])
    with scratch("convert") as folder:
        if caffemodel is None:
            assert options.simulated_weights is not None
            with clock.step("simulating"):
                network = simulate(network, options.simulated_weights)
                caffemodel = Path(folder) / "simulated.caffemodel"
                blobs = {layer.name: layer.blobs for layer in network.layers if layer.blobs}
                weights.write(caffemodel, network.name, blobs)
                del blobs
                # Read the weights back: mapped from the file, they take no memory except its pages.
                # Reading the network again adds no warnings.
                reread, _ = _read(prototxt, caffemodel, options)
                network = replace(reread, warnings=network.warnings)
        return _convert(network, prototxt, caffemodel, output, options, clock)


def convert_bytes(
    prototxt: bytes,
    caffemodel: bytes | None,
    options: Options = DEFAULTS,
    progress: Callable[[str], object] = lambda _: None,
) -> tuple[onnx.ModelProto, Report]:
    """Convert the contents of a prototxt and a caffemodel; see `convert_file`.

    The model's weights are part of it even beyond 2 GiB, where it can't be serialised in one piece.
    """
    with scratch("convert") as folder:
        paths = [Path(folder) / name for name in ("prototxt", "caffemodel", "model.onnx")]
        paths[0].write_bytes(prototxt)
        if caffemodel is not None:
            paths[1].write_bytes(caffemodel)
        try:
            report = convert_file(
                paths[0], None if caffemodel is None else paths[1], paths[2], options, progress
            )
        except CaffeError as error:
            # The caller has no file names.
            problems = [
                replace(problem, message=problem.message.replace(f"{folder}/", ""))
                for problem in error.diagnostics
            ]
            source = error.source.removeprefix(f"{folder}/")
            raise CaffeError(source, problems) from error
        return onnx.load(paths[2]), report


@np.errstate(all="ignore")
def explain_file(prototxt: Path, caffemodel: Path | None, options: Options) -> Explanation:
    """What becomes of each layer of a network, also of one that can't be converted.

    Raises CaffeError only for a text that isn't a prototxt, and UsageError for options that don't
    fit the model.
    """
    options = checked(options)
    network, problems = _read(prototxt, caffemodel, options)
    kind, preprocessing = _frame(network, options)
    return explain(network, problems, kind, preprocessing, merging=options.merge)


def _read(
    prototxt: Path, caffemodel: Path | None, options: Options
) -> tuple[Network, list[Diagnostic]]:
    network, problems = caffe_network.read(
        prototxt,
        caffemodel,
        input_size=options.input_size,
        channels=_channels(options),
        stages=options.stages,
        level=options.level,
    )
    return replace(network, fixed_batch=options.fixed_batch), problems


def _preprocessing(network: Network, options: Options) -> Preprocessing:
    channels = next(iter(network.inputs.values()))[1]
    return Preprocessing.of(channels, options.channel_order, options.mean, options.scale)


def _convert(
    network: Network,
    prototxt: Path,
    caffemodel: Path,
    output: Path,
    options: Options,
    clock: "_Clock",
) -> Report:
    with clock.step("hashing"):
        sources = {"prototxt": sha256(prototxt), "caffemodel": sha256(caffemodel)}
    with clock.step("translating"):
        name = options.name or network.name or "caffe"
        built = _build(network, options, name)
        names = class_names(built, options.class_names)
    release(blob for layer in network.layers for blob in layer.blobs)
    with ExitStack() as stack:
        with clock.step("storing"):
            store = stack.enter_context(stored(built.model, output))
            # Where the input is large and its size does not matter, a smaller one is verified.
            small = reduced(
                built,
                store,
                built.model,
                lambda inputs: _build(replace(network, inputs=inputs), options, name, built.parts),
            )
            # From here on the weights are in the file alone.
            built = replace(built, model=store.light, folder=store.folder)
        with clock.step("checking"):
            _check(built.model)
        verification = Verification(Status.UNVERIFIED, NOT_ASKED)
        if options.verify:
            with clock.time("verifying"):
                verification = verify(small or built, caffemodel, clock.progress)
            if small:
                _, _, height, width = next(iter(small.network.inputs.values()))
                verification = replace(verification, input_size=f"{height}x{width}")
        properties = metadata(built, name, names, sources, verification, options.simulated_weights)
        report = _report(built, name, sources, properties, network, verification, clock)
        if verification.status is Status.FAILED:
            raise VerificationError(report)
        with clock.step("writing"):
            entries = onnx.ModelProto()
            helper.set_model_props(entries, properties)
            digest = store.finish(entries.metadata_props)
    return replace(report, onnx_sha256=digest, seconds=clock.seconds)


class _Clock:
    """How long each step took."""

    def __init__(self, progress: Callable[[str], object]) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        with self.time(name):
            yield

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 4)


def _channels(options: Options) -> int | None:
    """The number of channels that the channel order implies; None if no order is given."""
    if options.channel_order is None:
        return None
    return 1 if options.channel_order is ChannelOrder.GRAY else 3


def _build(
    network: Network,
    options: Options,
    name: str,
    parts: Mapping[str, Sequence[int]] | None = None,
) -> Built:
    for blob, shape in network.inputs.items():
        if len(shape) == 4 and max(shape[2:]) > LARGEST_SIDE:
            raise ConversionError(
                f"input {blob} is {shape[2]}x{shape[3]}, but a side can have {LARGEST_SIDE} pixels "
                "at most: give --input-size, or correct the prototxt"
            )
    kind, preprocessing = _frame(network, options)
    return build(
        network, kind, preprocessing, name,
        pruning=options.prune, merging=options.merge, widening=options.widen,
        partitioning=options.partition, parts=parts,
    )  # fmt: skip


def _frame(network: Network, options: Options) -> tuple[Kind, Preprocessing | None]:
    """The kind of output, and how pixels become input; None for raw, and if the inputs don't fit.

    Raises UsageError for options that don't fit the model.
    """
    kind = default_kind(network) if options.output is None else options.output
    if kind is Kind.RAW:
        _check_raw(network, options)
    elif options.fixed_batch:
        raise UsageError("--fixed-batch goes with --output raw only: add it, or leave both out")
    elif not input_problems(network, kind):
        return kind, _preprocessing(network, options)
    return kind, None


def _check_raw(network: Network, options: Options) -> None:
    """Refuse options about images, except the channel order `gray`, which gives the channels.

    A fixed batch must be one image, as the references compute one image at a time.
    """
    order = options.channel_order
    if options.mean is not None or order not in (None, ChannelOrder.GRAY) or options.scale != 1:
        raise UsageError(
            "--mean, --scale and --channel-order bgr or rgb don't go with raw output, whose input "
            "is what Caffe was fed: leave them out, or choose --output heads or detections"
        )
    is_open = input_shapes(replace(network, fixed_batch=False))
    batches = [network.inputs[name][0] for name, shape in is_open.items() if shape[:1] == (BATCH,)]
    if options.fixed_batch and max(batches, default=1) > 1:
        raise UsageError(
            f"--fixed-batch is for one image at a time, but the prototxt states {max(batches)}: "
            "write 1 for the first dimension of its inputs"
        )
    for blob, shape in network.inputs.items():
        if order is not None and len(shape) == 4 and shape[1] != 1:
            raise UsageError(
                f"--channel-order gray does not fit input {blob}, which has {shape[1]} channels"
            )


def _check(light: onnx.ModelProto) -> None:
    """Run ONNX's own check on a model whose large tensors are external; they count as inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(light)
    del model.graph.initializer[:]
    for tensor in light.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        else:
            model.graph.initializer.append(tensor)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        detail = " ".join(str(error).split())
        raise ConversionError(f"the graph fails ONNX's own check; please report this: {detail}")  # noqa: B904


def _warnings(network: Network, built: Built) -> list[Diagnostic]:
    warnings = list(network.warnings)
    if built.preprocessing:
        warnings += differences(network, built.preprocessing)
        warnings += fractions(built.preprocessing)
    if network.training_layers:
        names = ", ".join(layer.name for layer in network.training_layers)
        warnings.append(
            Diagnostic(f"left out because they serve only training and testing: {names}")
        )
    if built.heads is not None and built.kind is not Kind.RAW:
        # By their names in the graph, where a top that is named like an output has another name.
        tops = zip(network.outputs, built.network.outputs, strict=True)
        others = ", ".join(top for top, renamed in tops if renamed != built.heads.top)
        if others:
            text = f"left out because {built.kind} have no place for them: {others}"
            warnings.append(Diagnostic(f"{text}; --output raw has all outputs"))
    return warnings


def _report(
    built: Built,
    name: str,
    sources: dict[str, str],
    properties: dict[str, str],
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
        inputs={each.name: shapes[each.name] for each in graph.input},
        outputs={output.name: shapes[output.name] for output in graph.output},
        layers=len(network.layers),
        nodes=len(graph.node),
        wide=len(built.parts),
        parameters=sum(blob.size for layer in network.layers for blob in layer.blobs),
        sources=sources,
        onnx_sha256="",
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
