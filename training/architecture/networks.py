"""Whole networks: the deploy, train and test prototxt of an architecture."""

from dataclasses import dataclass

from convert.caffe import caffe_pb2
from convert.caffe.caffe_pb2 import LayerParameter, NetParameter
from sfd.errors import SfdError
from training.architecture import data_layers, layers
from training.architecture.family import Architecture

CLASSES = 2
"""The background, class 0, and the face."""


class ArchitectureError(SfdError):
    """Arguments that do not make a network."""


@dataclass(frozen=True)
class Feature:
    """A top and its number of channels."""

    top: str
    width: int
    step: int
    """Distance between neighbouring positions, in pixels of the input."""


def deploy(architecture: Architecture) -> NetParameter:
    """From `data`, float32 [1, 3, height, width], to `detection_out`."""
    net = NetParameter(name=architecture.name, input=["data"])
    net.input_shape.add().dim.extend([1, 3, architecture.height, architecture.width])
    net.layer.extend([*_predictions(architecture), *_detections(architecture)])
    return net


def train(architecture: Architecture) -> NetParameter:
    """From annotated images to `mbox_loss`, SSD's loss."""
    net = NetParameter(name=architecture.name)
    net.layer.append(data_layers.training(architecture))
    net.layer.extend(_predictions(architecture))
    net.layer.append(_loss(architecture))
    return net


def test(architecture: Architecture) -> NetParameter:
    """From annotated images to `detection_eval`, from which Caffe's solver computes precision."""
    net = NetParameter(name=architecture.name)
    net.layer.append(data_layers.testing(architecture))
    net.layer.extend([*_predictions(architecture), *_detections(architecture), _evaluation()])
    return net


def _predictions(architecture: Architecture) -> list[LayerParameter]:
    made, features = _backbone(architecture)
    steps = {feature.top: feature.step for feature in features}
    loc, conf = f"mbox_loc{architecture.suffix}", f"mbox_conf{architecture.suffix}"
    for head in architecture.heads:
        if head.feature not in steps:
            raise ArchitectureError(
                f"a head reads {head.feature!r}, which is not the top of a layer"
            )
        start = f"{head.feature}_"
        for name, values in ((loc, 4), (conf, CLASSES)):
            made.append(
                layers.head_convolution(
                    start + name,
                    head.feature,
                    values * len(head.sizes),
                    bias_stated=architecture.head_bias_stated,
                )
            )
            made.extend(layers.channels_last(start + name))
        step = steps[head.feature]
        made.append(layers.prior_box(f"{start}mbox_priorbox", head.feature, head.sizes, step))
    starts = [f"{head.feature}_" for head in architecture.heads]
    made.append(layers.concat(loc, [f"{start}{loc}_flat" for start in starts], axis=1))
    made.append(layers.concat(conf, [f"{start}{conf}_flat" for start in starts], axis=1))
    priors = "mbox_priorbox"
    made.append(layers.concat(priors, [start + priors for start in starts], axis=2))
    return made


def _backbone(architecture: Architecture) -> tuple[list[LayerParameter], list[Feature]]:
    """The backbone's layers, and the features that heads can read."""
    made: list[LayerParameter] = []
    features: list[Feature] = []

    def conv(
        name: str,
        source: Feature,
        width: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        group: int = 1,
        relu: bool = True,
    ) -> Feature:
        made.append(
            layers.convolution(
                name,
                source.top,
                width,
                kernel=kernel,
                stride=stride,
                group=group,
                bias=not architecture.batch_norm,
            )
        )
        if architecture.batch_norm:
            made.extend(layers.batch_norm(name))
        if relu:
            made.append(layers.relu(name))
        features.append(Feature(name, width, source.step * stride))
        return features[-1]

    def depthwise(name: str, source: Feature, stride: int = 1) -> Feature:
        return conv(
            name, source, source.width, kernel=3, stride=stride, group=source.width, relu=True
        )

    x = conv("Conv", Feature("data", 3, 1), architecture.stem, kernel=3, stride=2)
    if architecture.second_stem:
        x = conv("Conv_a", x, architecture.stem, kernel=3)
    x = depthwise("conv/depthwise", x)
    x = conv("conv/project", x, architecture.first_width, relu=False)
    for number, block in enumerate(architecture.blocks, start=1):
        name = f"conv_{number}"
        expanded = conv(f"{name}/expand_", x, x.width * block.expansion)
        filtered = depthwise(f"{name}/depthwise_", expanded, block.stride)
        projected = conv(f"{name}/project_", filtered, block.width, relu=False)
        if block.stride == 1 and block.width == x.width:
            made.append(
                LayerParameter(
                    name=f"{name}/sum", type="Eltwise", bottom=[x.top, projected.top], top=[name]
                )
            )
            x = Feature(name, block.width, x.step)
            features.append(x)
        else:
            x = projected
    x = conv("Conv_1", x, architecture.last_width)
    for number, extra in enumerate(architecture.extras, start=2):
        x = conv(f"layer_19_1_{number}", x, extra.squeeze)
        x = depthwise(f"layer_19_2_{number}/depthwise", x, stride=2)
        x = conv(f"layer_19_2_{number}", x, extra.width)
    return made, features


def _detections(architecture: Architecture) -> list[LayerParameter]:
    conf = f"mbox_conf{architecture.suffix}"
    reshaped, sigmoid, flat = (f"mbox_conf_{x}" for x in ("reshape", "sigmoid", "flatten"))
    reshape = LayerParameter(name=reshaped, type="Reshape", bottom=[conf], top=[reshaped])
    reshape.reshape_param.shape.dim.extend([0, -1, CLASSES])
    output = LayerParameter(
        name="detection_out",
        type="DetectionOutput",
        bottom=[f"mbox_loc{architecture.suffix}", flat, "mbox_priorbox"],
        top=["detection_out"],
    )
    output.include.add().phase = caffe_pb2.TEST
    parameter = output.detection_output_param
    parameter.num_classes = CLASSES
    parameter.share_location = True
    parameter.background_label_id = 0
    parameter.nms_param.nms_threshold = 0.3
    parameter.nms_param.top_k = 5000
    parameter.code_type = caffe_pb2.PriorBoxParameter.CENTER_SIZE
    parameter.keep_top_k = 750
    parameter.confidence_threshold = 0.05
    return [
        reshape,
        LayerParameter(name=sigmoid, type="Sigmoid", bottom=[reshaped], top=[sigmoid]),
        layers.flatten(flat, sigmoid),
        output,
    ]


def _loss(architecture: Architecture) -> LayerParameter:
    layer = LayerParameter(
        name="mbox_loss",
        type="MultiBoxLoss",
        bottom=[
            f"mbox_loc{architecture.suffix}",
            f"mbox_conf{architecture.suffix}",
            "mbox_priorbox",
            "label",
        ],
        top=["mbox_loss"],
        propagate_down=[True, True, False, False],
    )
    layer.include.add().phase = caffe_pb2.TRAIN
    layer.loss_param.normalization = caffe_pb2.LossParameter.VALID
    of = caffe_pb2.MultiBoxLossParameter
    parameter = layer.multibox_loss_param
    parameter.loc_loss_type = of.SMOOTH_L1
    parameter.conf_loss_type = of.LOGISTIC
    parameter.loc_weight = 1
    parameter.num_classes = CLASSES
    parameter.share_location = True
    parameter.match_type = of.PER_PREDICTION
    parameter.overlap_threshold = 0.3
    parameter.use_prior_for_matching = True
    parameter.background_label_id = 0
    parameter.use_difficult_gt = True
    parameter.neg_pos_ratio = 3
    parameter.neg_overlap = 0.35
    parameter.code_type = caffe_pb2.PriorBoxParameter.CENTER_SIZE
    parameter.ignore_cross_boundary_bbox = False
    parameter.mining_type = of.MAX_NEGATIVE
    return layer


def _evaluation() -> LayerParameter:
    layer = LayerParameter(
        name="detection_eval",
        type="DetectionEvaluate",
        bottom=["detection_out", "label"],
        top=["detection_eval"],
    )
    layer.include.add().phase = caffe_pb2.TEST
    parameter = layer.detection_evaluate_param
    parameter.num_classes = CLASSES
    parameter.background_label_id = 0
    parameter.overlap_threshold = 0.5
    parameter.evaluate_difficult_gt = False
    return layer
