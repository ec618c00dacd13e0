"""Parameters and multiply-accumulates, against counts by hand."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.arithmetic import Size, size


def network(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in weights.items()]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "c", "h", "w"])],
        [helper.make_empty_tensor_value_info("y")],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_convolution_multiplies_its_kernel_at_each_output() -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])
    model = network([node], {"w": (8, 3, 3, 3), "b": (8,)})
    feed = {"x": np.zeros((1, 3, 10, 12), np.float32)}
    assert size(model, feed) == Size(8 * 27 + 8, 5 * 6 * 8 * 27)


def test_a_depthwise_convolution_sees_one_channel() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[1, 1, 1, 1])
    feed = {"x": np.zeros((1, 4, 5, 5), np.float32)}
    assert size(network([node], {"w": (4, 1, 3, 3)}), feed) == Size(36, 25 * 4 * 9)


def test_a_transposed_convolution_spreads_each_input() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])
    feed = {"x": np.zeros((1, 4, 5, 5), np.float32)}
    assert size(network([node], {"w": (4, 6, 2, 2)}), feed) == Size(96, 25 * 4 * 6 * 4)


def test_layers_behind_each_other_add_up() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["y"]),
    ]
    feed = {"x": np.zeros((1, 2, 4, 4), np.float32)}
    model = network(nodes, {"w": (3, 2, 1, 1), "v": (1, 3, 1, 1)})
    assert size(model, feed) == Size(9, 16 * 6 + 16 * 3)
