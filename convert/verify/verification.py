"""The same pictures through OpenCV's Caffe importer and through the file, and their comparison."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from convert.outputs.kinds import BOXES, DETECTION_OUTPUT, DETECTIONS, SCORES, Built, Heads, Kind
from convert.outputs.preprocessing import Preprocessing
from convert.report import Comparison, Status, Verification
from convert.verify.detections import (
    SCORE_BOUND,
    Candidates,
    Pixel,
    Verdict,
    compare_candidates,
    compare_rows,
    decode_candidates,
    detect,
    from_heads,
)
from convert.verify.inputs import pictures
from convert.verify.judge import JudgeError
from convert.verify.reference import Reference, deviation, reference

F32 = NDArray[np.float32]
Arrays = Mapping[str, NDArray[np.generic]]

RELATIVE_BOUND = 1e-4
"""How far a value may be off, in relation to the largest magnitude of its blob."""
BATCHED = ("noise", "gradient", "scene")
"""The pictures of the batch whose rows must be those of the single pictures."""
CAFFE = "Caffe's DetectionOutput on OpenCV's loc and conf"


class _File:
    """The converted file in onnxruntime, with some inner values as further outputs."""

    def __init__(self, model: onnx.ModelProto, extra: Sequence[str] = ()) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            _with_outputs(model, extra).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, batch: NDArray[np.generic]) -> Arrays:
        return dict(
            zip(self._outputs, self._session.run(self._outputs, {self._input: batch}), strict=True)
        )


@dataclass(slots=True)
class _Trial:
    """One verification under way."""

    built: Built
    reference: Reference
    deviates: str | None
    pixel: Pixel
    comparisons: list[Comparison] = field(default_factory=list)

    def values(self, picture: str, output: str, expected: F32, found: NDArray[np.generic]) -> None:
        """Compare arrays of one size, value by value."""
        difference, bound, note = _difference(expected, np.asarray(found, np.float32))
        passed = difference <= bound
        self.comparisons.append(
            Comparison(picture, output, self.reference.name, difference, bound, passed, note)
        )

    def verdict(self, picture: str, output: str, judge: str, verdict: Verdict) -> None:
        """Note how boxes compare."""
        self.comparisons.append(
            Comparison(
                picture,
                output,
                judge,
                verdict.difference,
                SCORE_BOUND,
                verdict.passed,
                verdict.note,
            )
        )


def verify(
    built: Built, weights: bytes, progress: Callable[[str], object] = lambda _: None
) -> Verification:
    """Judge a model, as it will be written, by the network and weights it was made from.

    `weights` are the bytes of the caffemodel; `progress` is told of each step. Nothing of this
    raises for a model that is wrong: that is a Verification with status FAILED.
    """
    network, heads = built.network, built.heads
    channels, height, width = next(iter(network.inputs.values()))[1:]
    images = pictures(channels, height, width)
    inputs = {name: _caffe_input(built, image) for name, image in images.items()}
    deviates = deviation(heads, network) if heads else None
    blobs = _judged_blobs(built, deviates)
    progress("OpenCV")
    try:
        judge = reference(network, weights, blobs, inputs["constant"])
    except JudgeError as error:
        return Verification(Status.UNVERIFIED, str(error))
    try:
        file = _File(built.model)
        inner = [name for blob in blobs if (name := built.values.get(blob))]
        probe = _File(built.model, inner)
    except Exception as error:  # onnxruntime raises what it likes
        return _failed(f"onnxruntime can't load the file: {error}")
    trial = _Trial(built, judge, deviates, (1 / width, 1 / height))
    answers: dict[str, Arrays] = {}
    scenes: dict[str, Candidates] = {}
    for name, image in images.items():
        progress(name)
        batch = inputs[name] if built.kind is Kind.RAW else image[None]
        try:
            expected = judge.run(inputs[name])
        except JudgeError as error:
            return Verification(Status.UNVERIFIED, str(error), tuple(trial.comparisons))
        answers[name] = file.run(batch)
        inside = probe.run(batch)
        _compare_blobs(trial, name, expected, inside, answers[name])
        if heads and {heads.loc, heads.conf} <= expected.keys():
            scenes[name] = _compare_detections(trial, heads, name, expected, answers[name], inside)
    progress("batch")
    stack = [inputs[name] if built.kind is Kind.RAW else images[name][None] for name in BATCHED]
    _compare_batch(trial, file.run(np.concatenate(stack)), answers, scenes)
    return _conclude(trial)


def _judged_blobs(built: Built, deviates: str | None) -> list[str]:
    """The network's blobs that OpenCV shall compute."""
    network, heads = built.network, built.heads
    ends = [blob for blob in network.outputs if blob not in network.inputs]
    if heads is None:
        # Rows of several DetectionOutputs can't be compared value by value.
        rows = {layer.tops[0] for layer in network.layers if layer.type == DETECTION_OUTPUT}
        return [blob for blob in ends if blob not in rows]
    wanted = [heads.loc, heads.conf]
    if not deviates:
        wanted += [heads.priors, heads.top]
    if built.kind is Kind.RAW:
        wanted += [blob for blob in ends if blob != heads.top]
    return list(dict.fromkeys(wanted))


def _caffe_input(built: Built, image: NDArray[np.uint8]) -> F32:
    """A picture as the blob [1, C, H, W] that Caffe would be fed."""
    channels = image.shape[2]
    if built.preprocessing:
        return built.preprocessing.apply(image[None])
    if channels in (1, 3):
        return Preprocessing.of(channels).apply(image[None])
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) - 128)


def _compare_blobs(
    trial: _Trial, picture: str, expected: Mapping[str, F32], inner: Arrays, answer: Arrays
) -> None:
    """Raw tops, and the blobs that the heads are decoded from."""
    heads = trial.built.heads
    for blob, array in expected.items():
        if heads and blob == heads.top:
            continue
        if heads and blob == heads.priors:
            found: NDArray[np.generic] | None = heads.prior_boxes
        else:
            found = answer.get(blob, inner.get(trial.built.values.get(blob, blob)))
        if found is not None:
            trial.values(picture, blob, array, found)


def _compare_detections(
    trial: _Trial,
    heads: Heads,
    picture: str,
    expected: Mapping[str, F32],
    answer: Arrays,
    inside: Arrays,
) -> Candidates:
    """Decoded boxes, scores and final rows of one picture; returns the true candidates."""
    detection, kind = heads.detection, trial.built.kind
    true = decode_candidates(
        detection, expected[heads.loc], expected[heads.conf], heads.prior_boxes
    )
    if trial.deviates or heads.top not in expected:
        judge, true_rows = CAFFE, detect(detection, true)
    else:
        judge, true_rows = trial.reference.name, _opencv_rows(expected[heads.top])
    if kind is Kind.HEADS:
        boxes, scores = (np.asarray(answer[name][0], np.float32) for name in (BOXES, SCORES))
        found = from_heads(boxes, scores)
        trial.values(picture, BOXES, true.boxes, found.boxes)
        trial.values(picture, SCORES, true.scores, found.scores)
        trial.verdict(
            picture, "candidates", CAFFE, compare_candidates(detection, trial.pixel, true, found)
        )
        rows, output = detect(detection, found), "heads, after NMS"
    else:
        output = DETECTIONS if kind is Kind.DETECTIONS else heads.top
        if output not in answer:
            return true
        rows = _rows(answer[output])
        # Flat pictures give equal scores, whose order is up to rounding: so judge the choice
        # also by the very numbers it was made from.
        loc, conf = (
            np.asarray(inside[trial.built.values[blob]], np.float32)
            for blob in (heads.loc, heads.conf)
        )
        own = decode_candidates(detection, loc, conf, heads.prior_boxes)
        verdict = compare_rows(detection, trial.pixel, own, detect(detection, own), rows)
        trial.verdict(
            picture, output, "Caffe's DetectionOutput on the file's loc and conf", verdict
        )
    trial.verdict(
        picture, output, judge, compare_rows(detection, trial.pixel, true, true_rows, rows)
    )
    return true


def _compare_batch(
    trial: _Trial, answer: Arrays, singles: Mapping[str, Arrays], scenes: Mapping[str, Candidates]
) -> None:
    """Each picture of a batch, against its own answer."""
    heads, kind = trial.built.heads, trial.built.kind
    detectors = {
        layer.tops[0] for layer in trial.built.network.layers if layer.type == DETECTION_OUTPUT
    }
    for output, array in answer.items():
        is_rows = kind is Kind.DETECTIONS or (kind is Kind.RAW and output in detectors)
        for index, name in enumerate(BATCHED):
            picture, single = f"{name} in a batch of {len(BATCHED)}", singles[name][output]
            if is_rows:
                if heads is None or name not in scenes:
                    continue
                rows = _rows(array)
                rows = rows[rows[:, 0] == index]
                rows[:, 0] = 0
                verdict = compare_rows(
                    heads.detection, trial.pixel, scenes[name], _rows(single), rows
                )
                trial.verdict(picture, output, "the single picture", verdict)
            else:
                part = array[index] if len(array) == len(BATCHED) else array
                trial.values(picture, output, np.asarray(single, np.float32), part)


def _conclude(trial: _Trial) -> Verification:
    comparisons = tuple(trial.comparisons)
    failures = [comparison for comparison in comparisons if not comparison.passed]
    if failures:
        first = failures[0]
        return _failed(
            f"{len(failures)} of {len(comparisons)} comparisons; first {first.output} on "
            f"{first.input}: difference {first.difference:.3g}, allowed {first.bound:.3g}"
            + (f" ({first.note})" if first.note else ""),
            comparisons,
        )
    unjudged = dict(trial.reference.unjudged)
    if trial.built.heads is None:
        for layer in trial.built.network.layers:
            if layer.type == DETECTION_OUTPUT:
                unjudged[layer.tops[0]] = "one of several DetectionOutput layers"
    if unjudged or not comparisons:
        reasons = "; ".join(f"{blob}: {reason}" for blob, reason in unjudged.items())
        return Verification(
            Status.UNVERIFIED, f"OpenCV can't judge {reasons or 'any output'}", comparisons
        )
    return Verification(Status.VERIFIED, "", comparisons)


def _failed(reason: str, comparisons: tuple[Comparison, ...] = ()) -> Verification:
    return Verification(Status.FAILED, " ".join(reason.split()), comparisons)


def _difference(expected: F32, found: F32) -> tuple[float, float, str]:
    """Largest absolute difference, the bound for it, and a note."""
    magnitude = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    bound = float(RELATIVE_BOUND * magnitude)
    if expected.size != found.size:
        shapes = f"shape {list(found.shape)} instead of {list(expected.shape)}"
        return float("inf"), bound, shapes
    a, b = expected.reshape(-1).astype(np.float64), found.reshape(-1).astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    differences = np.abs(np.subtract(a, b, out=np.zeros_like(a), where=~same))
    difference = float(differences.max(initial=0.0))
    return (float("inf") if np.isnan(difference) else difference), bound, ""


def _rows(array: NDArray[np.generic]) -> F32:
    return np.array(array, np.float32).reshape(-1, 7)


def _opencv_rows(array: F32) -> F32:
    """OpenCV's rows without the zeros that fill its blob."""
    rows = _rows(array)
    return np.asarray(rows[(rows[:, 1:] != 0).any(axis=1)])


def _with_outputs(model: onnx.ModelProto, extra: Sequence[str]) -> onnx.ModelProto:
    """A copy of the model whose graph also gives out these values."""
    present = {output.name for output in model.graph.output}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name in dict.fromkeys(extra):
        if name not in present:
            copy.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    return copy
