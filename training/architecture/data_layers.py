"""Data layers: the images to train and test on, and their augmentation.

As in Caffe, paths are relative to the directory in which the solver runs.
"""

from convert.caffe import caffe_pb2
from convert.caffe.caffe_pb2 import LayerParameter, TransformationParameter
from training.architecture.family import Architecture

TRAINING_IMAGES = "data/WIDER_FACE/WIDER_FACE_train_lmdb"
TEST_IMAGES = "data/WIDER_FACE/WIDER_FACE_val_lmdb"
LABEL_MAP = "data/WIDER_FACE/labelmap_wider.prototxt"

# Scales of the crops. Each is tried up to 50 times until the crop holds a whole face.
_CROP_SCALES = ((1.0, 1.0), (0.3, 1.0), (0.3, 1.0), (0.3, 1.0), (0.3, 1.0))


def training(architecture: Architecture) -> LayerParameter:
    """Random crops, colour distortion, mirroring and five resizing filters, in batches of six."""
    interpolations = caffe_pb2.ResizeParameter
    layer = _annotated(
        architecture,
        phase=caffe_pb2.TRAIN,
        images=TRAINING_IMAGES,
        batch=6,
        interpolations=[
            interpolations.LINEAR,
            interpolations.AREA,
            interpolations.NEAREST,
            interpolations.CUBIC,
            interpolations.LANCZOS4,
        ],
    )
    layer.transform_param.mirror = True
    # A face belongs to a crop if its centre is inside.
    layer.transform_param.emit_constraint.emit_type = caffe_pb2.EmitConstraint.CENTER
    _distort(layer.transform_param)
    for smallest, largest in _CROP_SCALES:
        batch_sampler = layer.annotated_data_param.batch_sampler.add()
        batch_sampler.sampler.min_scale = smallest
        batch_sampler.sampler.max_scale = largest
        batch_sampler.sampler.min_aspect_ratio = 1
        batch_sampler.sampler.max_aspect_ratio = 1
        batch_sampler.sample_constraint.min_object_coverage = 1
        batch_sampler.max_sample = 1
        batch_sampler.max_trials = 50
    return layer


def testing(architecture: Architecture) -> LayerParameter:
    """Whole images, which are only resized."""
    layer = _annotated(
        architecture,
        phase=caffe_pb2.TEST,
        images=TEST_IMAGES,
        batch=2,
        interpolations=[caffe_pb2.ResizeParameter.LINEAR],
    )
    layer.annotated_data_param.batch_sampler.add()
    return layer


def _annotated(
    architecture: Architecture,
    *,
    phase: caffe_pb2.Phase,
    images: str,
    batch: int,
    interpolations: list[caffe_pb2.ResizeParameter.Interp_mode],
) -> LayerParameter:
    layer = LayerParameter(name="data", type="AnnotatedData", top=["data", "label"])
    layer.include.add().phase = phase
    layer.transform_param.mean_value.extend(architecture.mean)
    resize = layer.transform_param.resize_param
    resize.prob = 1
    resize.resize_mode = caffe_pb2.ResizeParameter.WARP
    resize.height = architecture.height
    resize.width = architecture.width
    resize.interp_mode.extend(interpolations)
    layer.data_param.source = images
    layer.data_param.batch_size = batch
    layer.data_param.backend = caffe_pb2.DataParameter.LMDB
    layer.annotated_data_param.label_map_file = LABEL_MAP
    return layer


def _distort(transform: TransformationParameter) -> None:
    distort = transform.distort_param
    distort.brightness_prob = 0.5
    distort.brightness_delta = 32
    distort.contrast_prob = 0.5
    distort.contrast_lower = 0.5
    distort.contrast_upper = 1.5
    distort.hue_prob = 0.5
    distort.hue_delta = 18
    distort.saturation_prob = 0.5
    distort.saturation_lower = 0.5
    distort.saturation_upper = 1.5
    distort.random_order_prob = 0
