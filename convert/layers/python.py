"""Python: refused, with the usual replacement."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler

OWN_CODE = "it runs a Python class that the prototxt doesn't contain"

ADVICE = {
    "proposallayer": "the C++ layer Proposal takes the same bottoms: replace it by type: "
    '"Proposal" with proposal_param { feat_stride ratio scale pre_nms_topn post_nms_topn '
    "nms_thresh min_size }, or end the network before it and compute the proposals yourself",
    "anchortargetlayer": "it makes targets for training; take the deploy or test prototxt",
    "proposaltargetlayer": "it makes targets for training; take the deploy or test prototxt",
    "roidatalayer": "it reads training data; take the deploy or test prototxt, or declare an Input",
    "detectionoutputlayer": "end the network before it and decode the boxes yourself",
    "roipoolinglayer": 'the C++ layer is type: "ROIPooling"',
    "sliceroi": "end the network before it",
}
"""By the class's name in lower case."""

KINDS = (
    ("loss", "it computes a loss, which only training needs; remove it"),
    ("accuracy", "it only measures accuracy and doesn't affect the outputs; remove it"),
    ("eval", "it only measures accuracy and doesn't affect the outputs; remove it"),
    ("target", "it makes targets for training; take the deploy or test prototxt"),
    ("data", "it reads data; declare an Input layer with the shape of its top"),
    ("input", "it reads data; declare an Input layer with the shape of its top"),
    ("crop", 'the C++ layer is type: "Crop" with crop_param { axis offset }'),
    ("reshape", 'the C++ layer is type: "Reshape"'),
    ("permute", 'the C++ layer is type: "Permute"'),
    ("transpose", 'the C++ layer is type: "Permute"'),
    ("softmax", 'the C++ layer is type: "Softmax"'),
    ("upsampl", 'the C++ layers are type: "Deconvolution" and type: "Interp"'),
    ("normali", 'the C++ layers are type: "Normalize" and type: "L2Norm"'),
    ("proposal", "end the network before it and compute the proposals yourself"),
    ("nms", "end the network before it and suppress the boxes yourself"),
)
"""By a part of the class's or the module's name, the first that fits."""

OTHERWISE = (
    "replace it by layers that compute the same, or end the network before it and run its code on "
    "the outputs"
)


@handler("Python", bottoms=(0, None), tops=(0, None), refuses=True)
def python(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """A user's own Python code, which can't be converted: refused, with the usual replacement.

    Caffe: include/caffe/layers/python_layer.hpp, src/caffe/layer_factory.cpp.
    """
    parameter = layer.parameter.python_param
    named = ".".join(filter(None, (parameter.module, parameter.layer)))
    what = f"{named}: {OWN_CODE}" if named else f"a Python layer can't be converted: {OWN_CODE}"
    raise LayerError(f"{what}; {advice(parameter.module, parameter.layer)}")


def advice(module: str, name: str) -> str:
    """What to do about a Python layer of this module and class."""
    known = ADVICE.get(name.lower())
    if known is not None:
        return known
    searched = f"{name} {module}".lower()
    return next((text for part, text in KINDS if part in searched), OTHERWISE)
