"""A checked model of the store, opened in onnxruntime on the wanted provider."""

import ctypes
import dataclasses
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from detection.cpu import core_cache
from detection.errors import StartError
from detection.letterbox import Pixels
from detection.network_file import NetworkFile, network_file
from detection.precision import NEEDS, Precision, lacking, processor_features
from detection.predictions import Predictions
from detection.providers import PROVIDERS, ProviderName, Use, able
from detection.second_look import Frame, is_wanted, join
from store import model as models
from store.model import Model
from store.record import Build

INPUT, OUTPUTS = "images", ["boxes", "scores"]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as the network takes it."""

    pixels: Pixels
    """uint8 [height, width, channels] in RGB or gray."""
    second_look: bool = False
    """Whether it may get a second look, if the model has one."""


# Failures are raised and logged by us in one format, so onnxruntime's own lines are turned off.
_QUIET = ort.RunOptions()
_QUIET.log_severity_level = 4

_SHRINKING = ort.RunOptions()
_SHRINKING.log_severity_level = 4
_SHRINKING.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")


@dataclass(frozen=True)
class Session:
    """An open model; `look` and `run` may be called from several threads at once."""

    model: Model
    build: Build
    file: NetworkFile
    """What is open."""
    onnx: ort.InferenceSession
    provider: ProviderName
    """The provider that runs it."""
    fallback: str | None
    """Why `auto` did not choose a faster provider; None if it did, or if a provider was named."""
    use: Use
    """How it is opened."""
    precision: str = Precision.FLOAT32
    """What really runs: a `Precision`, or `int8+bfloat16` for an int8 file whose other numbers are
    bfloat16."""
    second: "ort.InferenceSession | None" = None
    """The network of the second look (`detection.second_look`), if it is used."""
    lone: "Session | None" = None
    """The same model with the threads of all workers, for an image that is alone; None if each
    worker has all threads. With the provider `cpu` both are opened with `shares_arena`: `warm_up`
    frees the memory of both in one run."""
    _blank_sizes: set[int] = field(default_factory=set, compare=False)
    """The sizes of the batches that `run_blank` has run."""

    @property
    def sha256(self) -> str:
        """Hash of the ONNX file that runs."""
        return self.file.sha256

    def look(self, pictures: Sequence[Picture]) -> list[Predictions]:
        """Infer a batch of pictures, and those again that need a second look."""
        found = self.run([each.pixels for each in pictures])
        rules = self.model.second_look
        if self.second is None or rules is None:
            return found
        width, height = self.model.input.width, self.model.input.height
        again = [
            index
            for index, (picture, first) in enumerate(zip(pictures, found, strict=True))
            if picture.second_look and is_wanted(first, rules, width, height)
        ]
        if not again:
            return found
        frame = Frame.of(rules, width, height)
        background = self.model.input.mean_rgb
        copies = [frame.copy(pictures[index].pixels, background) for index in again]
        for index, second in zip(again, _infer(self.second, copies), strict=True):
            large = Predictions(frame.restored(second.boxes), second.scores)
            found[index] = join(found[index], large, rules, width, height)
        return found

    def run(self, images: Sequence[Pixels]) -> list[Predictions]:
        """Infer a batch of images, each uint8 [height, width, channels], with one look at each."""
        return _infer(self.onnx, images)

    def blank(self) -> Pixels:
        """An input of the mean colour, for warming up."""
        shape = self.model.input.height, self.model.input.width, self.model.input.channels
        return np.full(shape, self.model.input.mean_rgb[: shape[2]], np.uint8)

    def run_blank(self, size: int) -> None:
        """Infer a batch of blank images. If that fails, StartError gives the reason."""
        self.try_run([self.blank()] * size)
        self._blank_sizes.add(size)

    def try_run(self, images: Sequence[Pixels]) -> list[Predictions]:
        """Infer a batch for the first time. If that fails, StartError gives the reason."""
        return self._try(self.run, images)

    def _try(
        self, infer: Callable[[Sequence[Pixels]], list[Predictions]], images: Sequence[Pixels]
    ) -> list[Predictions]:
        try:
            return infer(images)
        except Exception as error:
            # onnxruntime's own exceptions share no base class but Exception.
            reason = " ".join(str(error).split())[:300]
            raise StartError(f"{self.model.name}: the model does not run: {reason}") from error

    def warm_up(self, batch_sizes: Set[int]) -> None:
        """Run at each size: the first runs allocate, pick kernels and build engines.

        Sizes that were measured are skipped. With the provider `cpu`, all memory that the runs took
        is freed at the end; the next requests allocate what they need. Raises StartError, with the
        reason, for a model that does not run.
        """
        if self.lone is not None:
            self.lone._run_new({1})
        self._run_new(batch_sizes)
        if self.provider is ProviderName.CPU:
            # A choice that was measured and lost has run other batches. And after the first run of
            # a size, onnxruntime allocates by its pattern, and would keep both.
            self._try(partial(_infer, self.onnx, options=_SHRINKING), [self.blank()])
            # The networks of the second look have an arena each.
            for each in (self, self.lone):
                if each is not None and each.second is not None:
                    again = partial(_infer, each.second, options=_SHRINKING)
                    self._try(again, [each._blank_copy()])
        _free_memory()

    def _run_new(self, batch_sizes: Set[int]) -> None:
        """Run the sizes that have not run yet, and the second look."""
        for size in sorted(batch_sizes - self._blank_sizes):
            self.run_blank(size)
        if self.second is not None:
            for size in sorted(batch_sizes):
                self._try(partial(_infer, self.second), [self._blank_copy()] * size)

    def _blank_copy(self) -> Pixels:
        """An input of the second look's network."""
        rules = self.model.second_look
        assert rules is not None
        return np.zeros((rules.side, rules.side, self.model.input.channels), np.uint8)


def _free_memory() -> None:
    """Give free memory back to the system.

    glibc keeps what is free in the middle of its heap; other libraries lack the function.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _infer(
    network: ort.InferenceSession, images: Sequence[Pixels], options: ort.RunOptions = _QUIET
) -> list[Predictions]:
    boxes, scores = network.run(OUTPUTS, {INPUT: np.stack(images)}, options)
    # NaN is never above a threshold, so the images would seem to have no faces.
    if np.isnan(scores).any():
        raise FloatingPointError("the model gave scores that are not numbers (NaN)")
    return [Predictions(b, s) for b, s in zip(boxes, scores[:, :, 0], strict=True)]


def open_session(
    model: Model,
    provider: ProviderName,
    threads: int,
    max_batch: int,
    *,
    streams: int = 1,
    precision: Precision = Precision.FLOAT32,
    build: Build | None = None,
    shares_arena: bool = False,
) -> Session:
    """Check a model's files and open its ONNX file, or its int8 file for that precision.

    `streams` batches run at the same time, each with `threads`. `build` comes from
    `store.model.check` if the files are checked already. On the CPU, sessions that share the arena
    use the same memory if they do not run at the same time, but do not free it when they are
    closed. Raises ModelError for files that do not
    match their hashes, and StartError, with the reason, for a model, provider or precision that
    does not work.
    """
    features = processor_features()
    provider = check_precision(precision, provider, features)
    build = build or models.check(model)
    choose_file = partial(
        network_file,
        model,
        build,
        threads=threads,
        features=features,
        cache=core_cache(),
        int8=precision is Precision.INT8,
    )
    if precision is Precision.INT8:
        choose_file(provider)
        models.check_int8(model, build)
    if len(model.classes) != 1:
        raise StartError(
            f"{model.name}: has {len(model.classes)} classes; "
            "the service serves only detectors with one class"
        )
    has_bfloat16 = bool(NEEDS[Precision.BFLOAT16] & features)
    use = Use(
        INPUT,
        _shape(model.input.height, model.input.width, model.input.channels),
        max_batch,
        threads,
        streams,
        # What an int8 file has in float32 is small and gains too.
        bfloat16=precision is not Precision.FLOAT32 and has_bfloat16,
    )

    def open_on(name: ProviderName) -> ort.InferenceSession:
        return open_file(choose_file(name).path, name, use, shares_arena=shares_arena)

    available = ort.get_available_providers()
    onnx, chosen, fallback = choose(provider, available, open_on)
    file = choose_file(chosen)
    _check_signature(model, file.path, onnx, use.shape)
    runs: str = precision
    if precision is Precision.INT8 and chosen is ProviderName.OPENVINO and use.bfloat16:
        runs = f"{Precision.INT8}+{Precision.BFLOAT16}"
    return Session(model, build, file, onnx, chosen, fallback, use, runs)


def open_second_look(session: Session) -> Session:
    """The session with the network of its model's second look, if there is one; its `lone`, too.

    Raises StartError, with the reason, if it does not open.
    """
    model = session.model
    if model.second_look is None:
        return session
    side = model.second_look.side
    use = dataclasses.replace(session.use, shape=_shape(side, side, model.input.channels))
    path = model.second_look_onnx
    second = open_file(path, session.provider, use)
    _check_signature(model, path, second, use.shape)
    lone = session.lone and open_second_look(session.lone)
    return dataclasses.replace(session, second=second, lone=lone)


def _shape(height: int, width: int, channels: int) -> str:
    return f"{height}x{width}x{channels}"


def check_precision(
    precision: Precision, provider: ProviderName, features: Set[str]
) -> ProviderName:
    """The provider for a precision; `auto` stays itself for float32, which every provider runs.

    Raises StartError if the provider, or a processor with these features, can't run it.
    """
    names = able(precision)
    if provider is ProviderName.AUTO:
        if precision is Precision.FLOAT32:
            return provider
        provider = names[0]
    if provider not in names:
        raise StartError(
            f"SFD_PRECISION={precision} does not run on SFD_PROVIDER={provider}, only on "
            f"{' and '.join(names)}"
        )
    reason = lacking(precision, features)
    if reason is not None:
        raise StartError(f"SFD_PRECISION={precision} does not work: {reason}")
    return provider


def has_cuda() -> bool:
    """Whether this onnxruntime was built with CUDA, even if CUDA doesn't work."""
    return _has(ProviderName.CUDA)


def has_openvino() -> bool:
    """Whether this onnxruntime was built with OpenVINO."""
    return _has(ProviderName.OPENVINO)


def _has(name: ProviderName) -> bool:
    return PROVIDERS[name].execution_provider in ort.get_available_providers()


def choose(
    wanted: ProviderName,
    available: Sequence[str],
    open_on: Callable[[ProviderName], ort.InferenceSession],
) -> tuple[ort.InferenceSession, ProviderName, str | None]:
    """Open a session by the rules of SFD_PROVIDER: (session, provider, reason of a fallback).

    If a named provider doesn't work, StartError says why. `auto` is CUDA if it works, otherwise the
    CPU; `choice` compares the CPU with OpenVINO. TensorRT must be named, because it builds engines
    for minutes.
    """
    name = ProviderName.CUDA if wanted is ProviderName.AUTO else wanted
    provider = PROVIDERS[name]
    try:
        if provider.execution_provider not in available:
            raise StartError(
                f"this onnxruntime has no {provider.execution_provider}, only "
                f"{', '.join(available)} (install the package that has it: {provider.package})"
            )
        return open_on(name), name, None
    except StartError as error:
        if wanted is not ProviderName.AUTO:
            raise StartError(f"SFD_PROVIDER={wanted} does not work: {error}") from None
        return open_on(ProviderName.CPU), ProviderName.CPU, str(error)


def open_file(
    path: Path, name: ProviderName, use: Use, *, shares_arena: bool = False
) -> ort.InferenceSession:
    """Open an ONNX file on a provider, without any check of the file. StartError says why not."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = use.threads
    options.inter_op_num_threads = 1
    # Idle inference threads must not spin and use the CPU quota of the decoding threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Warnings concern only the conversion; a provider that fails to load reports an error.
    options.log_severity_level = 3
    if name is ProviderName.CPU and shares_arena:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    provider = PROVIDERS[name]
    if provider.needs_cuda and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    if name is ProviderName.OPENVINO:
        # Otherwise a part of the model could run on the CPU provider, and in float32.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    wanted = provider.execution_provider
    try:
        session = ort.InferenceSession(
            str(path), options, providers=[(wanted, provider.options(use))]
        )
    except Exception as error:
        # onnxruntime's own exceptions share no base class but Exception.
        reason = " ".join(str(error).split())[:300]
        raise StartError(f"{path}: does not open on {wanted}: {reason}") from None
    if wanted not in session.get_providers():
        # onnxruntime logs the reason and continues without the provider.
        raise StartError(
            f"{wanted} does not load: its libraries or its device are missing or of another "
            "version (onnxruntime's message on stderr names which)"
        )
    return session


@cache
def _share_arena() -> None:
    """Make the arena that sessions on the CPU can share.

    With an arena for each, the session for an image that is alone and that of two workers held
    60 MB more.
    """
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, None)


def _check_signature(model: Model, path: Path, session: ort.InferenceSession, shape: str) -> None:
    inputs = {value.name: (value.type, value.shape[1:]) for value in session.get_inputs()}
    taken = [int(side) for side in shape.split("x")]
    outputs = [value.name for value in session.get_outputs()]
    if inputs != {INPUT: ("tensor(uint8)", taken)} or set(outputs) != set(OUTPUTS):
        raise StartError(
            f"{path}: takes {inputs} and gives {outputs}, not uint8 {INPUT} "
            f"[batch, {', '.join(map(str, taken))}] and {' and '.join(OUTPUTS)}: "
            f"run `sfd models build {model.name}`"
        )
