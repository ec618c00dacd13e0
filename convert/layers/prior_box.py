"""PriorBox: a detector's prior boxes (anchors), as constants."""

from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler
from geometry.priors import PriorSpec, priors

MAX_PRIORS = 1 << 22
"""The most priors of a network. SSD has 8,732 at 300 x 300 pixels, S3FD 3.4 million at 6,400 x
6,400."""
MAX_SHAPES = 1000
"""The most sizes, and the most aspect ratios."""


@handler("PriorBox", bottoms=2)
def prior_box(layer: Layer, graph: GraphBuilder, bottoms: Sequence[Value]) -> Value:
    """Boxes of several sizes and shapes around each cell of a feature map, and their variances.

    The top is [1, 2, priors * 4]: corners in fractions of the image, then variances
    (`prior_box_layer.cpp`; geometry.priors has the formula). It depends only on the shapes of the
    feature map and the image, so it is constant for an input size.
    """
    spec = prior_spec(layer.parameter.prior_box_param)
    cells, image = bottoms
    if cells.rank != 4 or image.rank != 4:
        raise LayerError("needs a feature map and an image with four dimensions as its bottoms")
    _check_count(spec, cells.static(2) * cells.static(3), graph)
    try:
        with np.errstate(over="raise", invalid="raise"):
            boxes, variances = priors(
                spec, cells.static(3), cells.static(2), image.static(3), image.static(2)
            )
    except FloatingPointError:
        raise LayerError("has priors too large for float32: check offset, step and sizes") from None
    both = np.stack([boxes.reshape(-1), variances.reshape(-1)])[None]
    return graph.constant(both, layer.tops[0], exact_name=True)


def _check_count(spec: PriorSpec, cells: int, graph: GraphBuilder) -> None:
    """Refuse more priors than a detector can use, before any is computed."""
    ratios = len(spec.aspect_ratios) * (2 if spec.flip else 1)
    count = cells * (len(spec.min_sizes) * (1 + ratios) + len(spec.max_sizes))
    made = sum(
        value.static(2) // 4
        for value in graph.values.values()
        if value.constant is not None and value.rank == 3 and value.shape[:2] == (1, 2)
    )
    if made + count > MAX_PRIORS:
        raise LayerError(
            f"makes {count:,} priors, and the layers before it {made:,}, but a network can have "
            f"{MAX_PRIORS:,}: give a smaller --input-size, or fewer min_size and aspect_ratio"
        )


def prior_spec(parameter: caffe_pb2.PriorBoxParameter) -> PriorSpec:
    """The checked parameters of a layer. LayerError lists everything that Caffe would refuse."""
    problems: list[str] = []

    def check(holds: bool, message: str) -> None:
        if not holds:
            problems.append(message)

    least, largest = parameter.min_size, parameter.max_size
    check(len(least) > 0, "has no min_size: give at least one")
    check(all(0 < size < 2**31 for size in least), "min_size must be positive")
    if largest:
        check(len(largest) == len(least), "needs as many max_size as min_size, or none")
        check(
            all(low < high < 2**31 for low, high in zip(least, largest, strict=False)),
            "each max_size must be greater than its min_size",
        )
    check(all(0 < ratio < 1e6 for ratio in parameter.aspect_ratio), "aspect_ratio must be positive")
    check(
        max(len(least), len(parameter.aspect_ratio)) <= MAX_SHAPES,
        f"has {len(least)} min_size and {len(parameter.aspect_ratio)} aspect_ratio: "
        f"give at most {MAX_SHAPES} of each",
    )
    check(len(parameter.variance) in (0, 1, 4), "needs one variance or four")
    check(all(0 < value < np.inf for value in parameter.variance), "variance must be positive")
    check(np.isfinite(parameter.offset).item(), "offset must be a number")

    width, height = parameter.img_w, parameter.img_h
    if parameter.HasField("img_w") or parameter.HasField("img_h"):
        check(not parameter.HasField("img_size"), "give either img_size or img_h and img_w")
        check(width > 0 and height > 0, "img_h and img_w must both be positive")
    elif parameter.HasField("img_size"):
        width = height = parameter.img_size
        check(width > 0, "img_size must be positive")

    step_width, step_height = parameter.step_w, parameter.step_h
    if parameter.HasField("step_w") or parameter.HasField("step_h"):
        check(not parameter.HasField("step"), "give either step or step_h and step_w")
        check(
            0 < step_width < np.inf and 0 < step_height < np.inf,
            "step_h and step_w must both be positive",
        )
    elif parameter.HasField("step"):
        step_width = step_height = parameter.step
        check(0 < step_width < np.inf, "step must be positive")

    if problems:
        raise LayerError(*problems)
    return PriorSpec(
        min_sizes=tuple(least),
        max_sizes=tuple(largest),
        aspect_ratios=tuple(parameter.aspect_ratio),
        flip=parameter.flip,
        clip=parameter.clip,
        variances=tuple(parameter.variance) or (0.1,),
        step_width=step_width,
        step_height=step_height,
        offset=parameter.offset,
        image_width=width,
        image_height=height,
    )
