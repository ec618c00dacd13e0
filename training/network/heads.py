"""Finds the outputs of a detector in its network: codes, confidences and priors."""

from dataclasses import dataclass

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network

_SHAPING = frozenset(["Flatten", "Reshape", "Permute"])
_ACTIVATIONS = {"Sigmoid": "logistic", "Softmax": "softmax"}


@dataclass(frozen=True)
class Heads:
    """Names of a detector's outputs, with the confidences before their activation."""

    codes: str
    logits: str
    priors: str
    classes: int
    """Number of classes, including the background."""
    background: int
    activation: str
    """"logistic" or "softmax"."""


def find_heads(network: Network) -> Heads | None:
    """The inputs of the network's DetectionOutput or MultiBoxLoss; None if it has neither."""
    for layer in (*network.layers, *network.training_layers):
        if layer.type == "DetectionOutput":
            parameter = layer.parameter.detection_output_param
            logits, activation = _before_activation(network, layer.bottoms[1])
            return Heads(
                layer.bottoms[0],
                logits,
                layer.bottoms[2],
                parameter.num_classes,
                parameter.background_label_id,
                activation,
            )
        if layer.type == "MultiBoxLoss":
            loss = layer.parameter.multibox_loss_param
            logistic = loss.conf_loss_type == caffe_pb2.MultiBoxLossParameter.LOGISTIC
            return Heads(
                layer.bottoms[0],
                layer.bottoms[1],
                layer.bottoms[2],
                loss.num_classes,
                loss.background_label_id,
                "logistic" if logistic else "softmax",
            )
    return None


def _before_activation(network: Network, value: str) -> tuple[str, str]:
    makers: dict[str, Layer] = {top: layer for layer in network.layers for top in layer.tops}
    at = value
    while at in makers and makers[at].type in _SHAPING:
        at = makers[at].bottoms[0]
    if at in makers and makers[at].type in _ACTIVATIONS:
        return makers[at].bottoms[0], _ACTIVATIONS[makers[at].type]
    return value, "logistic"
