"""What the network's blobs should be: OpenCV's answers, and what can be had only in part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import EncodeError

from convert.caffe import blobs as encoding
from convert.caffe import caffe_pb2
from convert.caffe.network import Network
from convert.outputs.kinds import DetectorBlobs
from convert.verify.judge import Judge, JudgeError, needed_for, opencv
from geometry.arrays import F32
from geometry.coding import CodeType


@dataclass(frozen=True, slots=True)
class Reference:
    """Blobs by name for one input, from judges that may each know a part of the network."""

    judges: tuple[Judge, ...]
    name: str
    """Who judges, for the report."""
    unjudged: Mapping[str, str]
    """Blobs that nobody can judge, with the reason."""

    def run(self, data: F32, *, winograd: bool = False) -> Mapping[str, F32]:
        """The blobs for `data` [1, C, H, W]; JudgeError where OpenCV fails."""
        return {
            blob: array
            for judge in self.judges
            for blob, array in judge.run(data, winograd=winograd).items()
        }


def reference(network: Network, weights: bytes, blobs: Sequence[str], probe: F32) -> Reference:
    """Judges for as many of the blobs as OpenCV can compute.

    The whole network with the file's own weights is best. If OpenCV can't read that file, it gets
    our reading of the weights; if it can't run the network, each blob is tried alone, for an
    unknown layer may concern one output only. `probe` is an input to try them on. Raises
    JudgeError if there is no OpenCV 4.
    """
    name = f"OpenCV {opencv().__version__}"
    try:
        return Reference((_tried(network, weights, blobs, probe),), name, {})
    except JudgeError:
        file = _encoded(network) or weights
    try:
        by = f"{name}, weights re-encoded"
        return Reference((_tried(network, file, blobs, probe),), by, {})
    except JudgeError:
        judges: list[Judge] = []
        unjudged: dict[str, str] = {}
    for blob in blobs:
        try:
            judges.append(_tried(network, file, [blob], probe))
        except JudgeError as error:
            unjudged[blob] = str(error)
    return Reference(tuple(judges), f"{name}, in part", unjudged)


def deviation(heads: DetectorBlobs, network: Network) -> str | None:
    """Why OpenCV's DetectionOutput can't stand for Caffe's in this network; None if it can."""
    detection = heads.detection
    if detection.code_type is CodeType.CORNER_SIZE:
        return "OpenCV decodes CORNER_SIZE as CORNER"
    if detection.variance_encoded_in_target:
        return "OpenCV refuses Caffe's priors where the variance is encoded in the target"
    if detection.nms_threshold <= 0:
        return "OpenCV refuses an NMS threshold of 0"
    for layer in needed_for(network, [heads.priors]).layers:
        prior = layer.parameter.prior_box_param
        if layer.type == "PriorBox" and (prior.img_size or prior.img_w or prior.img_h):
            return "OpenCV ignores img_size, img_h and img_w of PriorBox"
    return None


def _tried(network: Network, weights: bytes, blobs: Sequence[str], probe: F32) -> Judge:
    judge = Judge(network, weights, blobs)
    judge.run(probe)
    return judge


def _encoded(network: Network) -> bytes | None:
    """The weights as we read them, as a plain caffemodel; None if they exceed protobuf's 2 GiB."""
    message = caffe_pb2.NetParameter(name=network.name)
    for layer in network.layers:
        if layer.blobs:
            entry = message.layer.add(name=layer.name, type=layer.type)
            for array in layer.blobs:
                entry.blobs.append(encoding.encode(array))
    try:
        return message.SerializeToString()
    except (EncodeError, ValueError):
        return None
