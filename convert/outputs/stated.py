"""Preprocessing that looks wrong: it differs from a data layer's, or is in another unit."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.caffe_pb2 import LayerParameter
from convert.caffe.data_layers import is_data_layer
from convert.caffe.network import Diagnostic, Network
from convert.outputs.preprocessing import Preprocessing


def differences(network: Network, preprocessing: Preprocessing) -> list[Diagnostic]:
    """A warning for each data layer whose `transform_param` preprocesses images differently.

    Source: DataTransformer (src/caffe/data_transformer.cpp): one mean value stands for all
    channels; without any, and without a mean file, nothing is subtracted.
    """
    found = []
    for layer in network.training_layers:
        if is_data_layer(layer.parameter) and layer.parameter.HasField("transform_param"):
            advice = _advice(layer.parameter, preprocessing)
            if advice:
                what = f"preprocesses images differently: {advice}"
                found.append(Diagnostic(what, layer.line, layer=layer.name))
    return found


def fractions(preprocessing: Preprocessing) -> list[Diagnostic]:
    """A warning for means that look like fractions of 1: pixels are 0 to 255."""
    mean = preprocessing.mean
    if not 0 < max(mean) <= 1:
        return []
    given, meant = (",".join(f"{value:g}" for value in values)
                    for values in (mean, [255 * value for value in mean]))  # fmt: skip
    return [
        Diagnostic(
            f"the mean {given} looks like fractions, but pixels are 0 to 255: is --mean {meant} "
            "meant?"
        )
    ]


def _advice(layer: LayerParameter, preprocessing: Preprocessing) -> str:
    """The options that would do what the layer does; empty if the file does it already."""
    transform = layer.transform_param
    options = []
    if transform.mean_file:
        options.append(f"--mean with the means of {transform.mean_file}, which is not read")
    else:
        mean = tuple(transform.mean_value) or (0.0,)
        channels = len(preprocessing.mean)
        if not _equal(mean * channels if len(mean) == 1 else mean, preprocessing.mean):
            options.append("--mean " + ",".join(f"{value:g}" for value in mean))
    if not _equal([transform.scale], [preprocessing.scale]):
        options.append(f"--scale {transform.scale:g}")
    return "give " + " and ".join(options) if options else ""


def _equal(stated: Sequence[float], chosen: Sequence[float]) -> bool:
    """Whether the values are equal, up to the six digits that the advice shows."""
    return len(stated) == len(chosen) and np.allclose(stated, chosen, rtol=1e-5, atol=0)
