"""The contestants: onnxruntime runs the converted file, OpenCV 4 the caffemodel."""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import onnxruntime

from benchmarks.contest import Contestant
from detection.cpu import core_cache
from detection.network_file import network_file
from detection.precision import processor_features
from detection.providers import ProviderName
from geometry.arrays import U8
from sfd.errors import SfdError
from store.model import Model, check

Images = U8


def pictures(model: Model, count: int, seed: int = 0) -> Images:
    """Noise [count, height, width, channels]: the content doesn't affect a convolution's time."""
    side = model.input
    noise = np.random.default_rng(seed).integers(
        0, 256, (count, side.height, side.width, side.channels)
    )
    return noise.astype(np.uint8)


def onnx_contestants(model: Model, batches: Sequence[int], threads: int) -> list[Contestant]:
    """The converted file in onnxruntime's CPU provider, at several batch sizes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    file = network_file(
        model, check(model), ProviderName.CPU, threads, processor_features(), core_cache()
    )
    session = onnxruntime.InferenceSession(
        str(file.path), options, providers=["CPUExecutionProvider"]
    )
    made = []
    for batch in batches:
        feed = {"images": pictures(model, batch)}
        run = partial(session.run, None, feed)
        made.append(Contestant(f"onnxruntime, batch {batch}", batch, run))
    return made


def opencv_contestant(model: Model, threads: int) -> Contestant:
    """The caffemodel in OpenCV 4's importer, one image at a time.

    Raises SfdError for a network that OpenCV cannot read.
    """
    cv2.setNumThreads(threads)
    try:
        net = cv2.dnn.readNetFromCaffe(str(model.deploy), str(model.weights))
    except cv2.error as error:
        reason = " ".join(str(error).split())[:200]
        raise SfdError(f"{model.name}: OpenCV cannot read {model.deploy}: {reason}") from None
    image = pictures(model, 1)[0]
    swap = model.input.channel_order == "bgr"
    # OpenCV subtracts it after the swap: in the network's order of channels, as the model has it.
    mean = model.input.mean

    def run() -> object:
        blob = cv2.dnn.blobFromImage(image, scalefactor=model.input.scale, mean=mean, swapRB=swap)
        net.setInput(blob)
        return net.forward()

    return Contestant("OpenCV 4 on the caffemodel", 1, run)
