"""SSD's layers as OpenCV reads them right."""

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.rewrites.piece import Piece, Shapes


def prior_box(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV has other defaults, and no `int` for the sizes as Caffe has."""
    prior = message.prior_box_param
    prior.flip, prior.clip, prior.offset = prior.flip, prior.clip, prior.offset
    if not prior.variance:
        prior.variance.append(0.1)
    for sizes in (prior.min_size, prior.max_size):
        sizes[:] = [float(int(size)) for size in sizes]
    return [Piece(message)]


def detection_output(
    layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes
) -> list[Piece]:
    """OpenCV has other defaults. It allocates `keep_top_k` rows, and can't take -1."""
    detection = message.detection_output_param
    detection.share_location = detection.share_location
    detection.background_label_id = detection.background_label_id
    detection.code_type = detection.code_type
    detection.nms_param.nms_threshold = detection.nms_param.nms_threshold
    detection.ClearField("save_output_param")
    if not detection.HasField("confidence_threshold"):
        detection.confidence_threshold = float(np.finfo(np.float32).min)
    if detection.keep_top_k < 0:
        detection.keep_top_k = 100_000
    return [Piece(message)]
