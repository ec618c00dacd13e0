"""The contestants: onnxruntime with our file, and OpenCV 4 with Caffe's files."""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import onnxruntime

from benchmarks.contest import Contestant
from geometry.arrays import U8
from store.model import Model

Images = U8


def pictures(model: Model, count: int, seed: int = 0) -> Images:
    """Noise [count, height, width, channels]: a convolution costs the same for any content."""
    side = model.input
    noise = np.random.default_rng(seed).integers(
        0, 256, (count, side.height, side.width, side.channels)
    )
    return noise.astype(np.uint8)


def onnx_peers(model: Model, batches: Sequence[int], threads: int) -> list[Contestant]:
    """The converted file in onnxruntime's CPU provider, at several batch sizes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(model.onnx), options, providers=["CPUExecutionProvider"]
    )
    peers = []
    for batch in batches:
        feed = {"images": pictures(model, batch)}
        run = partial(session.run, None, feed)
        peers.append(Contestant(f"onnxruntime, batch {batch}", batch, run))
    return peers


def opencv_peer(model: Model, threads: int) -> Contestant:
    """The caffemodel itself in OpenCV 4's importer, which takes one image at a time."""
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromCaffe(str(model.deploy), str(model.weights))
    image = pictures(model, 1)[0]
    swap = model.input.channel_order == "bgr"
    mean = model.input.mean[::-1] if swap else model.input.mean

    def run() -> object:
        blob = cv2.dnn.blobFromImage(image, scalefactor=model.input.scale, mean=mean, swapRB=swap)
        net.setInput(blob)
        return net.forward()

    return Contestant("OpenCV 4 on the caffemodel", 1, run)
