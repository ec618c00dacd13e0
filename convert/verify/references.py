"""The expected values of each blob: from OpenCV, or from NumPy where OpenCV can't or is wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network
from convert.graph import BATCH
from convert.outputs.kinds import Built
from convert.verify import numpy_reference
from convert.verify.deviations import deviations
from convert.verify.inputs import FLAT
from convert.verify.numpy_reference import NumpyError, NumpyReference, products, read_by_jumps
from convert.verify.opencv import Feed, OpenCVReference, Weights, needed_for, opencv_reference
from convert.verify.trial import RELATIVE_BOUND, Answers
from geometry.arrays import F32

FAST_FROM = 2e9
"""Products of a picture from which on OpenCV is first asked the fast way."""


@dataclass(frozen=True, slots=True)
class References:
    """OpenCV for all blobs that it can compute, the NumPy reference for the others."""

    built: Built
    """With the network for one picture."""
    opencv: OpenCVReference
    numpy: NumpyReference | None
    """For the blobs that OpenCV can't compute."""
    missing: Mapping[str, str]
    """Blobs that neither can compute, with the reasons."""
    deviations: Mapping[str, str]
    """The layers that OpenCV is known to compute differently, by name, with the difference."""
    fast: bool = False
    """Whether OpenCV convolves with Winograd's transform first, and by plain sums if asked again.

    That takes a third of the time. In a network of many products the time matters.
    """
    asked: dict[str, Mapping[str, F32]] = field(default_factory=dict)
    """OpenCV's blobs by picture, from `ask_opencv` until `ask` takes them."""

    @classmethod
    def of(
        cls,
        built: Built,
        weights: Weights,
        blobs: Sequence[str],
        unasked: Sequence[str],
        probe: Feed,
    ) -> "References":
        """References for `blobs`, and for those that OpenCV is not asked for.

        `weights` are the caffemodel or its bytes, `probe` a picture to try OpenCV on. Raises
        OpenCVError if there is no OpenCV 4.
        """
        built = replace(built, network=_for_one_picture(built, probe))
        network, shapes = built.network, built.shapes
        fast = products(network, shapes) > FAST_FROM
        opencv = opencv_reference(network, shapes, weights, blobs, probe, winograd=fast)
        computable: list[str] = []
        missing: dict[str, str] = {}
        for blob in (*opencv.missing, *unasked):
            try:
                NumpyReference.of(network, shapes, [blob], numpy_reference.MOST_PRODUCTS)
                computable.append(blob)
            except NumpyError as error:
                reason = opencv.missing.get(blob)
                missing[blob] = f"OpenCV: {reason}; NumPy: {error}" if reason else str(error)
        heads = built.heads
        if heads and {heads.loc, heads.conf}.isdisjoint(missing):
            # convert.verify.detections computes the detections from these.
            missing.pop(heads.top, None)
        numpy = NumpyReference.of(network, shapes, computable) if computable else None
        return cls(built, opencv, numpy, missing, deviations(network, shapes), fast)

    @property
    def names(self) -> tuple[str, str]:
        """What the references are called in the report."""
        return self.opencv.name, numpy_reference.NAME

    @property
    def blobs(self) -> tuple[str, ...]:
        """The blobs that `ask` gives, which it may want to know from inside the file."""
        numpy = self.numpy.blobs if self.numpy else ()
        jumping = read_by_jumps(needed_for(self.built.network, self.opencv.blobs))
        return tuple(dict.fromkeys((*self.opencv.blobs, *numpy, *jumping)))

    def ask_opencv(self, feeds: Mapping[str, Feed]) -> None:
        """Ask OpenCV about all pictures, by name, ahead of `ask`, and free its memory.

        So the network is never in memory twice, in OpenCV and in onnxruntime.
        """
        for picture, feed in feeds.items():
            self.asked[picture] = self.opencv.run(feed, winograd=self.fast)
        self.opencv.release()

    def ask(
        self, picture: str, feed: Feed, outputs: Mapping[str, F32], found: Mapping[str, F32]
    ) -> Answers:
        """The answers to a picture; `outputs` are the file's, `found` its blobs."""
        asked = self.asked.pop(picture, None)
        expected = dict(self.opencv.run(feed, winograd=self.fast) if asked is None else asked)
        names = dict.fromkeys(expected, self.opencv.name)
        if self.numpy:
            others = self.numpy.run(feed, found)
            names = {**dict.fromkeys(others, numpy_reference.NAME), **names}
            expected = {**others, **expected}
        return Answers(picture, expected, names, expected, outputs, found, found)

    def both_ways(self, answers: Answers, feed: Feed) -> Answers:
        """The answers with OpenCV's plain sums, and as their twin those of Winograd's transform.

        NumPy has no twin: it computes in float64.
        """
        plain = self.opencv.run(feed) if self.fast else {}
        expected = {**answers.expected, **plain}
        twin = {**expected, **self.opencv.run(feed, winograd=True)}
        return replace(answers, expected=expected, twin=twin)

    def rounded(self, answers: Answers, feed: Feed, blobs: Iterable[str]) -> Answers:
        """The answers with how far rounding may move these blobs, where NumPy can compute them.

        It may be more than the blob itself: where equal numbers are subtracted, their difference is
        zero but for rounding. But it must be small in relation to what was rounded. Only on a flat
        picture it may be large, where MVN divides a channel's rounding errors by themselves. The
        other pictures show what those layers do.
        """
        network, shapes = self.built.network, self.built.shapes
        wanted = [blob for blob in blobs if NumpyReference.has(network, shapes, blob)]
        try:
            found = NumpyReference.of(network, shapes, wanted).rounding(feed, answers.blobs)
        except NumpyError:
            return answers
        bounds: dict[str, float] = {}
        for blob in wanted:
            amount, largest = found[blob]
            if answers.picture == FLAT or amount <= RELATIVE_BOUND * largest:
                bounds[blob] = amount
        return replace(answers, rounding=bounds)

    def overruled(self, answers: Answers, feed: Feed, blobs: Iterable[str]) -> Answers | None:
        """The answers with NumPy's for these blobs; None where OpenCV may not be overruled.

        It may be where each blob depends on a layer that OpenCV is known to compute differently.
        """
        network, heads = self.built.network, self.built.heads
        notes: dict[str, str] = {}
        for blob in blobs:
            known = self._known(network, blob)
            if not known or answers.references.get(blob) == numpy_reference.NAME:
                return None
            notes[blob] = known
        if not all(NumpyReference.has(network, self.built.shapes, blob) for blob in notes):
            return None
        try:
            numpy = NumpyReference.of(network, self.built.shapes, notes)
            others = numpy.run(feed, answers.blobs)
        except NumpyError:
            return None
        expected = {**answers.expected, **others}
        if heads and not notes.keys().isdisjoint((heads.loc, heads.conf)):
            expected.pop(heads.top, None)  # OpenCV's detections follow from its loc and conf.
        return replace(
            answers,
            expected=expected,
            twin={**answers.twin, **others},
            references={**answers.references, **dict.fromkeys(others, numpy_reference.NAME)},
            notes=notes,
        )

    def _known(self, network: Network, blob: str) -> str:
        """The known differences in how OpenCV computes a blob."""
        return "; ".join(
            f"layer {layer.name}: {self.deviations[layer.name]}"
            for layer in needed_for(network, [blob]).layers
            if layer.name in self.deviations
        )


def _for_one_picture(built: Built, probe: Feed) -> Network:
    """The network with inputs of the sizes of `probe`, and a batch of 1 wherever it states one."""
    network = built.network
    inputs = {name: array.shape for name, array in probe.items()}
    stated = {shape[:1] for shape in network.inputs.values()} - {(1,), ()}
    if not stated:
        return replace(network, inputs=inputs)
    layers = tuple(_with_batch_1(built, layer, stated) for layer in network.layers)
    return replace(network, inputs=inputs, layers=layers)


def _with_batch_1(built: Built, layer: Layer, stated: set[tuple[int, ...]]) -> Layer:
    """A layer that writes the prototxt's batch as a number, with 1 in its place."""
    parameter = caffe_pb2.LayerParameter()
    parameter.CopyFrom(layer.parameter)
    if layer.type == "Reshape":
        top = built.shapes[layer.tops[0]]
        start = parameter.reshape_param.axis
        start += len(built.shapes[layer.bottoms[0]]) + 1 if start < 0 else 0
        dims = parameter.reshape_param.shape.dim
        place = top.index(BATCH) - start if BATCH in top else -1
        if 0 <= place < len(dims) and (dims[place],) in stated:
            dims[place] = 1
    elif layer.type == "DummyData":
        for shape in parameter.dummy_data_param.shape:
            if tuple(shape.dim[:1]) in stated:
                shape.dim[0] = 1
    return replace(layer, parameter=parameter)
