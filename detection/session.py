"""A checked model of the store, opened in onnxruntime on the wanted provider."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from detection.errors import StartError
from detection.letterbox import Pixels
from detection.providers import PROVIDERS, ProviderName
from geometry.arrays import Floats
from store import model as models
from store.model import Build, Model

INPUT, OUTPUTS = "images", ["boxes", "scores"]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the network predicts for one image, before any threshold.

    `boxes` [priors, 4] as x1, y1, x2, y2 in fractions of the input, `scores` [priors].
    """

    boxes: Floats
    scores: Floats


# Failures are raised and logged by us in one format, so onnxruntime's own lines are turned off.
_QUIET = ort.RunOptions()
_QUIET.log_severity_level = 4


@dataclass(frozen=True)
class Session:
    """An open model; `run` may be called from several threads at once."""

    model: Model
    build: Build
    onnx: ort.InferenceSession
    provider: ProviderName
    """The provider that runs it."""
    fallback: str | None
    """Why `auto` did not choose a faster provider; None if it did, or if a provider was named."""

    def run(self, images: Sequence[Pixels]) -> list[Predictions]:
        """Infer a batch of images, each uint8 [height, width, channels] in RGB or gray."""
        boxes, scores = self.onnx.run(OUTPUTS, {INPUT: np.stack(images)}, _QUIET)
        # NaN is never above a threshold, so the images would seem to have no faces.
        if np.isnan(scores).any():
            raise FloatingPointError("the model gave scores that are not numbers (NaN)")
        return [Predictions(b, s) for b, s in zip(boxes, scores[:, :, 0], strict=True)]

    def blank(self) -> Pixels:
        """An input of the mean colour, for warming up."""
        shape = self.model.input.height, self.model.input.width, self.model.input.channels
        return np.full(shape, self.model.input.mean_rgb[: shape[2]], np.uint8)

    def run_blank(self, size: int) -> None:
        """Infer a batch of blank images. If that fails, StartError gives the reason."""
        try:
            self.run([self.blank()] * size)
        except Exception as error:
            # onnxruntime's own exceptions share no base class but Exception.
            reason = " ".join(str(error).split())[:300]
            raise StartError(f"{self.model.name}: the model does not run: {reason}") from error

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Run once at each size: the first run allocates, picks kernels and builds engines.

        Raises StartError, with the reason, for a model that does not run.
        """
        for size in batch_sizes:
            self.run_blank(size)


def open_session(model: Model, provider: ProviderName, threads: int, max_batch: int) -> Session:
    """Check a model's files and open its ONNX file.

    Raises ModelError for files that do not match their hashes, and StartError, with the reason,
    for a model or provider that does not work.
    """
    build = models.check(model)
    if len(model.classes) != 1:
        raise StartError(
            f"{model.name}: has {len(model.classes)} classes; "
            "the service serves only detectors with one class"
        )

    def open_on(name: ProviderName) -> ort.InferenceSession:
        return _open(model, name, threads, max_batch)

    available = ort.get_available_providers()
    onnx, chosen, fallback = choose(provider, available, open_on)
    _check_signature(model, onnx)
    return Session(model, build, onnx, chosen, fallback)


def has_cuda() -> bool:
    """Whether this onnxruntime was built with CUDA, even if CUDA doesn't work."""
    return PROVIDERS[ProviderName.CUDA].execution_provider in ort.get_available_providers()


def choose(
    wanted: ProviderName,
    available: Sequence[str],
    open_on: Callable[[ProviderName], ort.InferenceSession],
) -> tuple[ort.InferenceSession, ProviderName, str | None]:
    """Open a session by the rules of SFD_PROVIDER: (session, provider, reason of a fallback).

    If a named provider doesn't work, StartError says why. `auto` is CUDA if it works, otherwise the
    CPU. TensorRT must be named, because it builds engines for minutes.
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


def _open(model: Model, name: ProviderName, threads: int, max_batch: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle inference threads must not spin and use the CPU quota of the decoding threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Warnings concern only the conversion; a provider that fails to load reports an error.
    options.log_severity_level = 3
    provider = PROVIDERS[name]
    if provider.needs_cuda and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    shape = f"{model.input.height}x{model.input.width}x{model.input.channels}"
    wanted = provider.execution_provider
    try:
        session = ort.InferenceSession(
            str(model.onnx),
            options,
            providers=[(wanted, provider.options(INPUT, shape, max_batch))],
        )
    except Exception as error:
        # onnxruntime's own exceptions share no base class but Exception.
        reason = " ".join(str(error).split())[:300]
        raise StartError(f"{model.onnx}: does not open on {wanted}: {reason}") from None
    if wanted not in session.get_providers():
        # onnxruntime logs the reason and continues without the provider.
        raise StartError(
            f"{wanted} does not load: its libraries or its device are missing or of another "
            "version (onnxruntime's message on stderr names which)"
        )
    return session


def _check_signature(model: Model, session: ort.InferenceSession) -> None:
    inputs = {value.name: (value.type, value.shape[1:]) for value in session.get_inputs()}
    taken = [model.input.height, model.input.width, model.input.channels]
    outputs = [value.name for value in session.get_outputs()]
    if inputs != {INPUT: ("tensor(uint8)", taken)} or set(outputs) != set(OUTPUTS):
        raise StartError(
            f"{model.onnx}: takes {inputs} and gives {outputs}, not uint8 {INPUT} "
            f"[batch, {', '.join(map(str, taken))}] and {' and '.join(OUTPUTS)}: "
            f"run `sfd models build {model.name}`"
        )
