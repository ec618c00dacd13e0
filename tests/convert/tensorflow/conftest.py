"""Frozen graphs with TensorFlow's names, written with this project's own schema."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from convert.tensorflow.graph_pb2 import DT_FLOAT, GraphDef
from geometry.arrays import F32

ROOT = "FeatureExtractor/MobilenetV2/"
UNITS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("Conv", (3, 3, 3, 8)),
    ("expanded_conv/depthwise", (3, 3, 8, 1)),
    ("expanded_conv/project", (1, 1, 8, 4)),
    ("expanded_conv_1/expand", (1, 1, 4, 24)),
    ("expanded_conv_1/depthwise", (3, 3, 24, 1)),
    ("expanded_conv_1/project", (1, 1, 24, 6)),
    ("expanded_conv_2/expand", (1, 1, 6, 36)),
    ("expanded_conv_2/depthwise", (3, 3, 36, 1)),
    ("expanded_conv_2/project", (1, 1, 36, 6)),
    ("Conv_1", (1, 1, 6, 16)),
    ("layer_19_1_Conv2d_2_1x1_5", (1, 1, 16, 5)),
    ("layer_19_2_Conv2d_2_3x3_s2_7_depthwise", (3, 3, 5, 1)),
    ("layer_19_2_Conv2d_2_3x3_s2_7", (1, 1, 5, 7)),
)
"""Of a small network: scope and shape [height, width, in, out or multiplier], SSDLite's extras."""


@pytest.fixture
def constants() -> dict[str, F32]:
    """Random values of every trained constant below ROOT."""
    random = np.random.default_rng(7)
    made: dict[str, F32] = {}
    for scope, shape in UNITS:
        depthwise = scope.endswith("depthwise")
        channels = shape[2] if depthwise else shape[3]
        inputs = 9 if depthwise else shape[0] * shape[1] * shape[2]
        name = f"{scope}/depthwise_weights" if depthwise else f"{scope}/weights"
        made[name] = random.normal(0, 1 / np.sqrt(inputs), shape).astype(np.float32)
        norm = f"{scope}/BatchNorm"
        made[f"{norm}/gamma"] = random.uniform(0.4, 1.2, channels).astype(np.float32)
        made[f"{norm}/beta"] = random.normal(0, 0.3, channels).astype(np.float32)
        made[f"{norm}/moving_mean"] = random.normal(0, 0.3, channels).astype(np.float32)
        made[f"{norm}/moving_variance"] = random.uniform(0.1, 2, channels).astype(np.float32)
    return made


@pytest.fixture
def freeze() -> Callable[..., GraphDef]:
    """A frozen graph of constants: each with the Identity that freezing leaves, and BatchNorms."""

    def freeze(
        constants: Mapping[str, Any],
        *,
        root: str = ROOT,
        epsilon: float | None = 0.001,
        batch_norm: str = "FusedBatchNorm",
    ) -> GraphDef:
        graph = GraphDef()
        graph.versions.producer = 27
        graph.node.add(name="image_tensor", op="Placeholder")
        for name, array in constants.items():
            node = graph.node.add(name=root + name, op="Const")
            node.attr["dtype"].type = DT_FLOAT
            tensor = node.attr["value"].tensor
            tensor.dtype = DT_FLOAT
            for size in array.shape:
                tensor.tensor_shape.dim.add(size=size)
            tensor.tensor_content = array.astype("<f4").tobytes()
            graph.node.add(name=f"{root}{name}/read", op="Identity", input=[root + name])
            if name.endswith("BatchNorm/gamma") and epsilon is not None:
                norm = root + name.removesuffix("/gamma")
                fused = graph.node.add(name=f"{norm}/FusedBatchNorm", op=batch_norm)
                fused.input.extend([f"{norm}/../Conv2D", f"{norm}/gamma/read", f"{norm}/beta/read"])
                fused.attr["epsilon"].f = epsilon
        return graph

    return freeze
