"""The same pictures through OpenCV's Caffe importer and through the file, and their comparison."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from convert.outputs.kinds import (
    BOXES,
    DETECTION_OUTPUT,
    DETECTIONS,
    SCORES,
    Built,
    DetectorBlobs,
    Kind,
)
from convert.outputs.preprocessing import Preprocessing
from convert.report import Comparison, Status, Verification
from convert.verify.detections import (
    Bounds,
    Candidates,
    compare_candidates,
    compare_rows,
    decode_candidates,
    detect,
    from_heads,
)
from convert.verify.file import ConvertedFile, FileError
from convert.verify.inputs import pictures
from convert.verify.judge import JudgeError
from convert.verify.reference import deviation, reference
from convert.verify.trial import Sight, Trial
from geometry.arrays import F32, U8

Scenes = dict[str, tuple[Candidates, Bounds]]

BATCHED = ("noise", "gradient", "scene")
"""The pictures of the batch whose rows must be those of the single pictures."""
ON_OPENCVS = "Caffe's DetectionOutput on OpenCV's loc and conf"
ON_ITS_OWN = "Caffe's DetectionOutput on the file's loc and conf"
SINGLE = "the single picture"


def verify(
    built: Built, weights: bytes, progress: Callable[[str], object] = lambda _: None
) -> Verification:
    """Judge a model, as it will be written, by the network and weights it was made from.

    `weights` are the bytes of the caffemodel; `progress` is told of each step. A model that is
    wrong raises nothing: that is a Verification with status FAILED.
    """
    network, heads = built.network, built.heads
    channels, height, width = next(iter(network.inputs.values()))[1:]
    images = pictures(channels, height, width)
    inputs = {name: _caffe_input(built, image) for name, image in images.items()}
    batches = inputs if built.kind is Kind.RAW else {k: image[None] for k, image in images.items()}
    deviates = deviation(heads, network) if heads else None
    blobs = _judged_blobs(built, deviates)
    progress("OpenCV")
    try:
        judge = reference(network, weights, blobs, inputs["constant"])
    except JudgeError as error:
        return Verification(Status.UNVERIFIED, str(error))
    trial = Trial(built, judge, deviates, Bounds((1 / width, 1 / height)))
    try:
        _try(trial, blobs, inputs, batches, progress)
    except JudgeError as error:
        return _conclude(trial, str(error))
    except FileError as error:
        return _failed(str(error), tuple(trial.comparisons))
    return _conclude(trial)


def _try(
    trial: Trial,
    blobs: Sequence[str],
    inputs: Mapping[str, F32],
    batches: Mapping[str, NDArray[np.generic]],
    progress: Callable[[str], object],
) -> None:
    """Run every picture by both; `inputs` are for OpenCV, `batches` the same for the file."""
    built = trial.built
    inner = {blob: built.values[blob] for blob in blobs if blob in built.values}
    file, probe = ConvertedFile(built.model), ConvertedFile(built.model, list(inner.values()))
    # Seldom needed, and a session is dear: made once, for the first picture that fails.
    plain = functools.cache(
        lambda: ConvertedFile(built.model, list(inner.values()), optimized=False)
    )
    singles: dict[str, Mapping[str, F32]] = {}
    scenes: Scenes = {}
    for name, data in inputs.items():
        progress(name)
        expected = trial.reference.run(data)
        singles[name] = file.run(batches[name])
        inside = probe.run(batches[name])
        found = {**singles[name], **{blob: inside[value] for blob, value in inner.items()}}
        sight = Sight(name, expected, expected, singles[name], found, found)
        start = len(trial.comparisons)
        _compare_picture(trial, sight, scenes)
        if not all(comparison.passed for comparison in trial.comparisons[start:]):
            # Is the file wrong, or is it a matter of rounding? Ask both again, the other way.
            del trial.comparisons[start:]
            twin = trial.reference.run(data, winograd=True)
            inside = plain().run(batches[name])
            again = {**inside, **{blob: inside[value] for blob, value in inner.items()}}
            _compare_picture(trial, replace(sight, twin=twin, again=again), scenes)
    progress("batch")
    together = file.run(np.concatenate([batches[name] for name in BATCHED]))
    _compare_batch(trial, together, singles, scenes)


def _judged_blobs(built: Built, deviates: str | None) -> list[str]:
    """The network's blobs that OpenCV shall compute."""
    network, heads = built.network, built.heads
    ends = [blob for blob in network.outputs if blob not in network.inputs]
    if heads is None:
        # Rows of several DetectionOutputs can't be compared value by value.
        return [blob for blob in ends if blob not in _row_tops(built)]
    wanted = [heads.loc, heads.conf]
    if not deviates:
        wanted += [heads.priors, heads.top]
    if built.kind is Kind.RAW:
        wanted += [blob for blob in ends if blob != heads.top]
    return list(dict.fromkeys(wanted))


def _row_tops(built: Built) -> list[str]:
    return [layer.tops[0] for layer in built.network.layers if layer.type == DETECTION_OUTPUT]


def _caffe_input(built: Built, image: U8) -> F32:
    """A picture as the blob [1, C, H, W] that Caffe would be fed."""
    channels = image.shape[2]
    if built.preprocessing:
        return built.preprocessing.apply(image[None])
    if channels in (1, 3):
        return Preprocessing.of(channels).apply(image[None])
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) - 128)


@np.errstate(all="ignore")  # Untrained weights make boxes that overflow; in Caffe as well.
def _compare_picture(trial: Trial, sight: Sight, scenes: Scenes) -> None:
    """All that one picture shows; what is true of it goes into `scenes`."""
    heads = trial.built.heads
    _compare_blobs(trial, sight)
    if heads and {heads.loc, heads.conf} <= sight.expected.keys():
        scenes[sight.name] = _compare_detections(trial, heads, sight)


def _compare_blobs(trial: Trial, sight: Sight) -> None:
    """Raw tops, and the blobs that the heads are decoded from."""
    heads = trial.built.heads
    for blob, array in sight.expected.items():
        if heads and blob == heads.top:
            continue
        if heads and blob == heads.priors:
            trial.values(sight.name, blob, array, heads.prior_boxes)
        elif blob in sight.blobs:
            trial.values(
                sight.name,
                blob,
                array,
                sight.blobs[blob],
                sight.twin[blob],
                again=sight.again[blob],
            )


def _compare_detections(
    trial: Trial, heads: DetectorBlobs, sight: Sight
) -> tuple[Candidates, Bounds]:
    """Decoded boxes, scores and final rows of one picture; returns what is true of it."""
    detection, kind = heads.detection, trial.built.kind
    true, twin, own = (
        decode_candidates(detection, blobs[heads.loc], blobs[heads.conf], heads.prior_boxes)
        for blobs in (sight.expected, sight.twin, sight.blobs)
    )
    bounds = trial.bounds.widened(detection, true, twin)
    if trial.deviates or heads.top not in sight.expected:
        judge, true_rows = ON_OPENCVS, detect(detection, true)
    else:
        judge, true_rows = trial.reference.name, _opencv_rows(sight.expected[heads.top])
    if kind is Kind.HEADS:
        found = from_heads(sight.outputs[BOXES][0], sight.outputs[SCORES][0])
        trial.values(sight.name, BOXES, true.boxes, found.boxes, twin.boxes, ON_OPENCVS)
        trial.values(sight.name, SCORES, true.scores, found.scores, twin.scores)
        same = compare_candidates(detection, bounds, true, found)
        trial.verdict(sight.name, "candidates", ON_OPENCVS, bounds, same)
        rows, output = detect(detection, found), "heads, after NMS"
    else:
        output = DETECTIONS if kind is Kind.DETECTIONS else heads.top
        if output not in sight.outputs:
            return true, bounds  # A raw file of a network that goes on after its detections.
        rows = _rows(sight.outputs[output])
        # Flat pictures give equal scores, whose order is up to rounding: so judge the choice
        # also by the very numbers it was made from.
        chosen = compare_rows(detection, trial.bounds, own, detect(detection, own), rows)
        trial.verdict(sight.name, output, ON_ITS_OWN, trial.bounds, chosen)
    agreed = compare_rows(detection, bounds, true, true_rows, rows)
    trial.verdict(sight.name, output, judge, bounds, agreed)
    return true, bounds


@np.errstate(all="ignore")
def _compare_batch(
    trial: Trial,
    together: Mapping[str, F32],
    singles: Mapping[str, Mapping[str, F32]],
    scenes: Scenes,
) -> None:
    """Each picture of a batch, against its own answer."""
    heads, row_tops = trial.built.heads, [DETECTIONS, *_row_tops(trial.built)]
    for output, array in together.items():
        for index, name in enumerate(BATCHED):
            picture, single = f"{name} in a batch of {len(BATCHED)}", singles[name][output]
            if output not in row_tops or trial.built.kind is Kind.HEADS:
                part = array[index] if len(array) == len(BATCHED) else array
                trial.values(picture, output, single, part, judge=SINGLE)
            elif heads is not None and name in scenes:
                true, bounds = scenes[name]
                rows = _rows(array)
                rows = rows[rows[:, 0] == index]
                rows[:, 0] = 0
                same = compare_rows(heads.detection, bounds, true, _rows(single), rows)
                trial.verdict(picture, output, SINGLE, bounds, same)


def _conclude(trial: Trial, given_up: str = "") -> Verification:
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
    if given_up:
        return Verification(Status.UNVERIFIED, given_up, comparisons)
    unjudged = dict(trial.reference.unjudged)
    if trial.built.heads is None:
        unjudged |= dict.fromkeys(_row_tops(trial.built), "one of several DetectionOutput layers")
    if unjudged or not comparisons:
        reasons = "; ".join(f"{blob}: {reason}" for blob, reason in unjudged.items())
        return Verification(
            Status.UNVERIFIED, f"OpenCV can't judge {reasons or 'any output'}", comparisons
        )
    return Verification(Status.VERIFIED, "", comparisons)


def _failed(reason: str, comparisons: tuple[Comparison, ...] = ()) -> Verification:
    return Verification(Status.FAILED, " ".join(reason.split()), comparisons)


def _rows(array: NDArray[np.generic]) -> F32:
    return np.array(array, np.float32).reshape(-1, 7)


def _opencv_rows(array: F32) -> F32:
    """OpenCV's rows without the zeros that fill its blob."""
    rows = _rows(array)
    return np.asarray(rows[(rows[:, 1:] != 0).any(axis=1)])
