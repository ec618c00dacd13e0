"""The same pictures through the references and through the file, and their comparison."""

import functools
from collections.abc import Callable, Mapping
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
from convert.verify.inputs import pictures
from convert.verify.opencv import Feed, OpenCVError
from convert.verify.references import References
from convert.verify.trial import Answers, Trial
from geometry.arrays import F32, U8

Scenes = dict[str, tuple[Candidates, Bounds]]

BATCHED = ("noise", "gradient", "scene")
"""The pictures of the batch whose rows must be those of the single pictures."""
ON_ITS_OWN = "Caffe's DetectionOutput on the file's loc and conf"
SINGLE = "the single picture"


def verify(
    built: Built, weights: bytes, progress: Callable[[str], object] = lambda _: None
) -> Verification:
    """Compare a model, as it will be written, with the network and weights it was made from.

    OpenCV computes what it can; what it can't compute the NumPy reference does. `weights` are the
    bytes of the caffemodel; `progress` is told of each step. A model that is wrong raises nothing:
    that is a Verification with status FAILED.
    """
    network, heads = built.network, built.heads
    channels, height, width = next(iter(network.inputs.values()))[1:]
    images = pictures(channels, height, width)
    image = next(iter(network.inputs))
    feeds = {name: {image: _caffe_input(built, picture)} for name, picture in images.items()}
    batches: dict[str, NDArray[np.generic]] = {
        name: feeds[name][image] if built.kind is Kind.RAW else picture[None]
        for name, picture in images.items()
    }
    deviates = detection_deviation(heads, network) if heads else None
    blobs, unasked = _compared_blobs(built, deviates)
    progress("OpenCV")
    try:
        references = References.of(built, weights, blobs, unasked, feeds["constant"])
    except OpenCVError as error:
        return Verification(Status.UNVERIFIED, str(error))
    trial = Trial(built, deviates, Bounds((1 / width, 1 / height)))
    try:
        _try(trial, references, feeds, batches, progress)
    except OpenCVError as error:
        return _conclude(trial, references, str(error))
    except FileError as error:
        return _failed(str(error), trial)
    return _conclude(trial, references)


def _try(
    trial: Trial,
    references: References,
    feeds: Mapping[str, Feed],
    batches: Mapping[str, NDArray[np.generic]],
    progress: Callable[[str], object],
) -> None:
    """Run every picture: `feeds` are for the references, `batches` the same for the file."""
    built = trial.built
    inner = {blob: built.values[blob] for blob in references.blobs if blob in built.values}
    file, probe = ConvertedFile(built.model), ConvertedFile(built.model, list(inner.values()))
    # Seldom needed and slow to make: made once, for the first picture that fails.
    plain = functools.cache(
        lambda: ConvertedFile(built.model, list(inner.values()), optimized=False)
    )
    singles: dict[str, Mapping[str, F32]] = {}
    scenes: Scenes = {}
    for name, feed in feeds.items():
        progress(name)
        singles[name] = file.run(batches[name])
        found = _blobs(singles[name], probe.run(batches[name]), inner)
        answers = references.ask(name, feed, singles[name], found)
        start = len(trial.comparisons)
        failing = _compare_picture(trial, answers, scenes)
        if not failing:
            continue
        # Is the file wrong, or is it rounding? Ask both again, the other way.
        again = plain().run(batches[name])
        answers = replace(
            answers, twin=references.twin(answers, feed), again=_blobs(again, again, inner)
        )
        del trial.comparisons[start:]
        failing = _compare_picture(trial, answers, scenes)
        overruled = references.overruled(answers, feed, failing) if failing else None
        if overruled:
            # Is OpenCV wrong, as it is known to be? Ask the NumPy reference.
            refused = trial.comparisons[start:]
            del trial.comparisons[start:]
            if _compare_picture(trial, overruled, scenes):
                trial.comparisons[start:] = refused
    progress("batch")
    together = file.run(np.concatenate([batches[name] for name in BATCHED]))
    _compare_batch(trial, together, singles, scenes)


def _blobs(
    outputs: Mapping[str, F32], inside: Mapping[str, F32], inner: Mapping[str, str]
) -> Mapping[str, F32]:
    """The network's blobs by their own names, as far as the file gives them out."""
    return {**outputs, **{blob: inside[value] for blob, value in inner.items()}}


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


def _caffe_input(built: Built, image: U8) -> F32:
    """A picture as the blob [1, C, H, W] that Caffe would be fed."""
    channels = image.shape[2]
    if built.preprocessing:
        return built.preprocessing.apply(image[None])
    if channels in (1, 3):
        return Preprocessing.of(channels).apply(image[None])
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) - 128)


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
                is_batch = len(array) == len(BATCHED) * len(single)
                part = np.split(array, len(BATCHED))[index] if is_batch else array
                trial.values(picture, output, SINGLE, single, part)
            elif heads is not None and name in scenes:
                true, bounds = scenes[name]
                rows = _rows(array)
                rows = rows[rows[:, 0] == index]
                rows[:, 0] = 0
                same = compare_rows(heads.detection, bounds, true, _rows(single), rows)
                trial.verdict(picture, output, SINGLE, bounds, same)


def _conclude(trial: Trial, references: References, given_up: str = "") -> Verification:
    comparisons = tuple(trial.comparisons)
    failures = [comparison for comparison in comparisons if not comparison.passed]
    if failures:
        first = failures[0]
        return _failed(
            f"{len(failures)} of {len(comparisons)} comparisons; first {first.output} on "
            f"{first.input} against {first.reference}: difference {first.difference:.3g}, "
            f"allowed {first.bound:.3g}" + (f" ({first.note})" if first.note else ""),
            trial,
        )
    if given_up:
        return Verification(Status.UNVERIFIED, given_up, comparisons)
    missing = dict(references.missing)
    if trial.built.heads is None:
        missing |= dict.fromkeys(_row_tops(trial.built), "one of several DetectionOutput layers")
    if missing or not comparisons:
        reasons = "; ".join(f"{blob}: {reason}" for blob, reason in missing.items())
        return Verification(
            Status.UNVERIFIED, f"nothing to compare with for {reasons or 'any output'}", comparisons
        )
    return Verification(Status.VERIFIED, "", comparisons)


def _failed(reason: str, trial: Trial) -> Verification:
    return Verification(Status.FAILED, " ".join(reason.split()), tuple(trial.comparisons))


def _rows(array: NDArray[np.generic]) -> F32:
    return np.array(array, np.float32).reshape(-1, 7)


def _opencv_rows(array: F32) -> F32:
    """OpenCV's rows without the zeros that fill its blob."""
    rows = _rows(array)
    return np.asarray(rows[(rows[:, 1:] != 0).any(axis=1)])
