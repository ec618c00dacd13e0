"""The same pictures through the references and through the file, and their comparison."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.graph import BATCH
from convert.outputs.kinds import (
    BOXES,
    DETECTION_OUTPUT,
    DETECTIONS,
    SCORES,
    Built,
    DetectorBlobs,
    Kind,
)
from convert.report import Status, Verification
from convert.verify.detections import (
    Bounds,
    Candidates,
    compare_candidates,
    compare_rows,
    decode_candidates,
    detect,
    from_heads,
)
from convert.verify.deviations import detection_deviation
from convert.verify.file import ConvertedFile, FileError
from convert.verify.inputs import Sample, is_sequence, samples, together
from convert.verify.numpy_reference import NumpyError
from convert.verify.opencv import OpenCVError
from convert.verify.references import References
from convert.verify.trial import Answers, Trial
from geometry.arrays import F32

Scenes = dict[str, tuple[Candidates, Bounds]]
Rounding = dict[str, Mapping[str, float]]
"""How far rounding may move blobs, by picture and blob; only what was asked for."""

PROPOSAL = "Proposal"
BATCHED = ("noise", "gradient", "scene")
"""The pictures of the batch whose rows must be those of the single pictures."""
BATCH_OF = f"a batch of {len(BATCHED)}"
ON_ITS_OWN = "Caffe's DetectionOutput on the file's loc and conf"
SINGLE = "the single picture"
ALIKE = f"{BATCH_OF}, all the same picture"


@dataclass(frozen=True, slots=True)
class Batch:
    """What the file gives out for the pictures of BATCHED together, and for each of them."""

    outputs: Mapping[str, F32]
    singles: Sequence[Mapping[str, F32]]
    alike: Callable[[], Sequence[Mapping[str, F32]]]
    """For each picture what the file gives out for a batch of nothing but this picture."""
    rounding: Rounding


def verify(
    built: Built, weights: bytes | Path, progress: Callable[[str], object] = lambda _: None
) -> Verification:
    """Compare a model, as it will be written, with the network and weights it was made from.

    OpenCV computes what it can; what it can't compute the NumPy reference does. `weights` are the
    caffemodel or its bytes; `progress` is told of each step. A model that is wrong raises nothing:
    that is a Verification with status FAILED.
    """
    network, heads = built.network, built.heads
    inputs = samples(built)
    deviates = detection_deviation(heads, network) if heads else None
    blobs, unasked = _compared_blobs(built, deviates)
    progress("OpenCV")
    try:
        references = References.of(built, weights, blobs, unasked, inputs["constant"].feed)
    except OpenCVError as error:
        return Verification(Status.UNVERIFIED, str(error))
    height, width = (*next(iter(network.inputs.values())), 1, 1, 1)[2:4]
    trial = Trial(built, deviates, Bounds((1 / width, 1 / height)))
    try:
        _try(trial, references, inputs, progress)
    except (OpenCVError, NumpyError) as error:
        return _conclude(trial, references, str(error))
    except FileError as error:
        return _verification(Status.FAILED, str(error), trial, references)
    return _conclude(trial, references)


def _try(
    trial: Trial,
    references: References,
    inputs: Mapping[str, Sample],
    progress: Callable[[str], object],
) -> None:
    """Run every sample by the references and by the file, and some of them as one batch."""
    built = trial.built
    inner = {blob: built.values[blob] for blob in references.blobs if blob in built.values}
    model, names, folder = built.model, list(inner.values()), built.folder
    references.ask_opencv({name: sample.feed for name, sample in inputs.items()})
    regions = _proposed(built)
    file = ConvertedFile(model, list(regions.values()), folder=folder)
    singles = {name: file.run(sample.arrays) for name, sample in inputs.items()}
    batch: Mapping[str, F32] = {}
    if not is_sequence(built) and not built.network.fixed_batch:
        progress("batch")
        batch = file.run(together(built, [inputs[name] for name in BATCHED]))
    has_all = set(names) <= {output.name for output in model.graph.output}
    if not has_all:
        # One after the other: each session has its own copy of the weights.
        del file
        file = ConvertedFile(model, names, folder=folder)
    # Seldom needed and slow to make: made once, for the first picture that fails.
    plain = functools.cache(lambda: ConvertedFile(model, names, optimized=False, folder=folder))

    @functools.cache
    def alike() -> Sequence[Mapping[str, F32]]:
        file = ConvertedFile(model, folder=folder)
        return [file.run(together(built, [inputs[name]] * len(BATCHED))) for name in BATCHED]

    scenes: Scenes = {}
    rounding: Rounding = {}
    for name, sample in inputs.items():
        progress(name)
        inside = singles[name] if has_all else file.run(sample.arrays)
        found = _blobs(singles[name], inside, inner)
        answers = references.ask(name, sample.feed, singles[name], found)
        start = len(trial.comparisons)
        failing = _compare_picture(trial, answers, scenes)
        if not failing:
            continue
        # Is the file wrong, or is it rounding? Ask both again, the other way.
        again = plain().run(sample.arrays)
        answers = replace(
            references.both_ways(answers, sample.feed), again=_blobs(again, again, inner)
        )
        del trial.comparisons[start:]
        failing = _compare_picture(trial, answers, scenes)
        if failing and all(comparison.passed for comparison in trial.comparisons[:start]):
            # Is the result zero up to rounding? Allow what rounding makes of it. That takes NumPy
            # a while, which is not worth it where another picture has already decided.
            answers = references.rounded(answers, sample.feed, failing)
            rounding[name] = answers.rounding
            del trial.comparisons[start:]
            failing = _compare_picture(trial, answers, scenes)
        overruled = references.overruled(answers, sample.feed, failing) if failing else None
        if overruled:
            # Is OpenCV wrong, as it is known to be? Ask the NumPy reference.
            refused = trial.comparisons[start:]
            del trial.comparisons[start:]
            if _compare_picture(trial, overruled, scenes):
                trial.comparisons[start:] = refused
    if batch:
        parts = [_blobs(singles[name], singles[name], regions) for name in BATCHED]
        outputs = _blobs(batch, batch, regions)
        _compare_batch(trial, Batch(outputs, parts, alike, rounding), scenes)


def _blobs(
    outputs: Mapping[str, F32], inside: Mapping[str, F32], inner: Mapping[str, str]
) -> Mapping[str, F32]:
    """The network's blobs that the file gives out, by their own names."""
    return {**outputs, **{blob: inside[value] for blob, value in inner.items()}}


def _proposed(built: Built) -> Mapping[str, str]:
    """The blobs of regions that Proposal layers find, with their ONNX values.

    They are compared although the file may not give them out: each region must name its picture.
    """
    tops = [layer.tops[0] for layer in built.network.layers if layer.type == PROPOSAL]
    return {top: built.values[top] for top in tops if top in built.values}


def _compared_blobs(built: Built, deviates: str | None) -> tuple[list[str], list[str]]:
    """The network's blobs that OpenCV is asked for, and those that only NumPy is asked for."""
    network, heads = built.network, built.heads
    ends = [blob for blob in network.outputs if blob not in network.inputs]
    if heads is None:
        # Rows of several DetectionOutputs can't be compared value by value.
        return [blob for blob in ends if blob not in _row_tops(built)], []
    wanted, unasked = [heads.loc, heads.conf], []
    if deviates:
        unasked.append(heads.priors)
    else:
        wanted += [heads.priors, heads.top]
    if built.kind is Kind.RAW:
        wanted += [blob for blob in ends if blob != heads.top]
    return list(dict.fromkeys(wanted)), unasked


def _row_tops(built: Built) -> list[str]:
    return [layer.tops[0] for layer in built.network.layers if layer.type == DETECTION_OUTPUT]


@np.errstate(all="ignore")  # Untrained weights make boxes that overflow; in Caffe as well.
def _compare_picture(trial: Trial, answers: Answers, scenes: Scenes) -> list[str]:
    """Compare all that one picture shows; what is true of it goes into `scenes`.

    Returns the blobs of the network that don't agree.
    """
    heads = trial.built.heads
    start = len(trial.comparisons)
    _compare_blobs(trial, answers)
    if heads and {heads.loc, heads.conf} <= answers.expected.keys():
        scenes[answers.picture] = _compare_detections(trial, heads, answers)
    failing: list[str] = []
    for comparison in trial.comparisons[start:]:
        if not comparison.passed:
            ends = (heads.loc, heads.conf) if heads else ()
            is_blob = comparison.output in answers.expected and comparison.output not in (
                heads.top if heads else None,
            )
            failing += [comparison.output] if is_blob else ends
    return list(dict.fromkeys(failing))


def _compare_blobs(trial: Trial, answers: Answers) -> None:
    """Raw tops, and the blobs that the heads are decoded from."""
    heads = trial.built.heads
    for blob, array in answers.expected.items():
        if heads and blob == heads.top:
            continue
        if heads and blob == heads.priors:
            found, again = heads.prior_boxes, None
        elif blob in answers.blobs:
            found, again = answers.blobs[blob], answers.again[blob]
        else:
            continue
        trial.values(
            answers.picture,
            blob,
            answers.references[blob],
            array,
            found,
            answers.twin[blob],
            again,
            answers.notes.get(blob, ""),
            answers.rounding.get(blob, 0.0),
        )


def _compare_detections(
    trial: Trial, heads: DetectorBlobs, answers: Answers
) -> tuple[Candidates, Bounds]:
    """Decoded boxes, scores and final rows of one picture; returns what is true of it."""
    detection, kind = heads.detection, trial.built.kind
    true, twin, own = (
        decode_candidates(detection, blobs[heads.loc], blobs[heads.conf], heads.prior_boxes)
        for blobs in (answers.expected, answers.twin, answers.blobs)
    )
    bounds = trial.bounds.widened(detection, true, twin)
    source = " and ".join(
        dict.fromkeys(answers.references[blob] for blob in (heads.loc, heads.conf))
    )
    decoded = f"Caffe's DetectionOutput on loc and conf of {source}"
    if trial.deviates or heads.top not in answers.expected:
        reference, true_rows = decoded, detect(detection, true)
    else:
        reference = answers.references[heads.top]
        true_rows = _opencv_rows(answers.expected[heads.top])
    picture = answers.picture
    if kind is Kind.HEADS:
        found = from_heads(answers.outputs[BOXES][0], answers.outputs[SCORES][0])
        trial.values(picture, BOXES, decoded, true.boxes, found.boxes, twin.boxes)
        trial.values(picture, SCORES, source, true.scores, found.scores, twin.scores)
        same = compare_candidates(detection, bounds, true, found)
        trial.verdict(picture, "candidates", decoded, bounds, same)
        rows, output = detect(detection, found), "heads, after NMS"
    else:
        output = DETECTIONS if kind is Kind.DETECTIONS else heads.top
        if output not in answers.outputs:
            return true, bounds  # A raw file of a network that goes on after its detections.
        rows = _rows(answers.outputs[output])
        # Flat pictures give equal scores, whose order is up to rounding: so compare the choice
        # also with the very numbers it was made from.
        chosen = compare_rows(detection, trial.bounds, own, detect(detection, own), rows)
        trial.verdict(picture, output, ON_ITS_OWN, trial.bounds, chosen)
    agreed = compare_rows(detection, bounds, true, true_rows, rows)
    trial.verdict(picture, output, reference, bounds, agreed)
    return true, bounds


@np.errstate(all="ignore")
def _compare_batch(trial: Trial, batch: Batch, scenes: Scenes) -> None:
    """Each picture of a batch, against its own answer."""
    built, heads = trial.built, trial.built.heads
    row_tops = [DETECTIONS, *_row_tops(built)]
    for output, array in batch.outputs.items():
        if output not in row_tops or built.kind is Kind.HEADS:
            _compare_parts(trial, batch, output)
            continue
        for index, name in enumerate(BATCHED):
            if heads is not None and name in scenes:
                true, bounds = scenes[name]
                rows = _rows(array)
                rows = rows[rows[:, 0] == index]
                rows[:, 0] = 0
                own = _rows(batch.singles[index][output])
                same = compare_rows(heads.detection, bounds, true, own, rows)
                trial.verdict(f"{name} in {BATCH_OF}", output, SINGLE, bounds, same)


def _compare_parts(trial: Trial, batch: Batch, output: str) -> None:
    """An output of the batch against that of each picture.

    Where its open dimension counts regions instead of pictures, all regions are compared at once.
    So are rows of time · batch, as Lstm makes them: those of one step lie side by side.
    """
    array = batch.outputs[output]
    parts = [single[output] for single in batch.singles]
    rounding = max(batch.rounding.get(name, {}).get(output, 0.0) for name in BATCHED)
    compare = functools.partial(trial.values, rounding=rounding)
    shape = trial.built.shapes.get(output, (BATCH,))
    axis = shape.index(BATCH) if BATCH in shape else None
    if shape and isinstance(shape[0], str) and shape[0].endswith(f"*{BATCH}"):
        steps = np.stack(parts, axis=1)
        compare(BATCH_OF, output, SINGLE, steps.reshape(-1, *steps.shape[2:]), array)
        return
    if axis is None and shape and isinstance(shape[0], str):
        if output in _proposed(trial.built):
            numbered = [part.copy() for part in parts]
            for index, rows in enumerate(numbered):
                rows[:, 0] = index
            compare(BATCH_OF, output, SINGLE, np.concatenate(numbered), array)
            return
        compare(BATCH_OF, output, SINGLE, np.concatenate(parts), array)
        if not trial.comparisons[-1].passed:
            # Does it have the numbers of the pictures, by which regions name them? Ask for each
            # picture in the place that it has in the batch.
            del trial.comparisons[-1]
            places = [np.array_split(alike[output], len(BATCHED)) for alike in batch.alike()]
            first = np.concatenate([place[0] for place in places])
            compare(ALIKE, output, SINGLE, np.concatenate(parts), first)
            own = np.concatenate([place[index] for index, place in enumerate(places)])
            compare(BATCH_OF, output, ALIKE, own, array)
        return
    for index, (name, part) in enumerate(zip(BATCHED, parts, strict=True)):
        found = array
        if axis is not None and array.shape[axis] == len(BATCHED) * part.shape[axis]:
            found = np.split(array, len(BATCHED), axis=axis)[index]
        compare(f"{name} in {BATCH_OF}", output, SINGLE, part, found)


def _conclude(trial: Trial, references: References, given_up: str = "") -> Verification:
    """What follows from the comparisons; `given_up` says why they are not complete."""
    comparisons = trial.comparisons
    failures = [comparison for comparison in comparisons if not comparison.passed]
    missing = dict(references.missing)
    if trial.built.heads is None:
        missing |= dict.fromkeys(_row_tops(trial.built), "one of several DetectionOutput layers")
    if failures:
        first = failures[0]
        status, reason = (
            Status.FAILED,
            (
                f"{len(failures)} of {len(comparisons)} comparisons; first {first.output} on "
                f"{first.input} against {first.reference}: difference {first.difference:.3g}, "
                f"allowed {first.bound:.3g}" + (f" ({first.note})" if first.note else "")
            ),
        )
    elif given_up:
        status, reason = Status.UNVERIFIED, given_up
    elif missing or not comparisons:
        reasons = "; ".join(f"{blob}: {reason}" for blob, reason in missing.items())
        status = Status.UNVERIFIED
        reason = f"nothing to compare with for {reasons or 'any output'}"
    else:
        status, reason = Status.VERIFIED, ""
    return _verification(status, reason, trial, references)


def _verification(
    status: Status, reason: str, trial: Trial, references: References
) -> Verification:
    compared = {comparison.reference for comparison in trial.comparisons}
    names = tuple(name for name in references.names if name in compared)
    return Verification(status, " ".join(reason.split()), tuple(trial.comparisons), names)


def _rows(array: NDArray[np.generic]) -> F32:
    return np.array(array, np.float32).reshape(-1, 7)


def _opencv_rows(array: F32) -> F32:
    """OpenCV's rows without the zeros that fill its blob."""
    rows = _rows(array)
    return np.asarray(rows[(rows[:, 1:] != 0).any(axis=1)])
