"""An ONNX graph under construction: values with static shapes, nodes, constants, a ModelProto.

Every dimension except the batch is known while the graph grows, because Caffe's rules (ceil
pooling, priors, flattening) need numbers. A value with known content is a constant. A node that
reads only constants is computed at once and is not written to the file, unless its result is large.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import ArrayLike, DTypeLike, NDArray
from onnx import TensorProto, helper

OPSET: Final = 17
"""The oldest operator set with all operators that we use, so that most runtimes load the file."""
IR_VERSION: Final = 8
BATCH: Final = "batch"
"""The name of the open dimension."""

MAX_FOLDED: Final = 1 << 22
"""The most elements of a computed constant that is larger than the constants it comes from."""

Dim = int | str
Shape = tuple[Dim, ...]
Array = NDArray[np.generic]


class OpenDimensionError(ValueError):
    """The size of an open dimension, such as the batch, was needed as a number."""


@dataclass(frozen=True)
class Value:
    """One tensor of the graph: its ONNX name, its shape, and its content if that is constant."""

    name: str
    shape: Shape
    dtype: np.dtype[np.generic] = field(default_factory=lambda: np.dtype(np.float32))
    constant: Array | None = field(default=None, compare=False, repr=False)

    @property
    def rank(self) -> int:
        """The number of dimensions, batch included."""
        return len(self.shape)

    def static(self, axis: int) -> int:
        """The size of a dimension. Raises OpenDimensionError if it is open."""
        dim = self.shape[axis]
        if isinstance(dim, str):
            raise OpenDimensionError(
                f"axis {axis} of {self.name} is the {dim}, whose size is dynamic; keep the batch "
                "on the first axis and use the axes after it"
            )
        return dim


@dataclass(frozen=True)
class Node:
    """One operator of the graph; inputs and outputs by name, '' for an input left out."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


class GraphBuilder:
    """Collects nodes, constants, inputs and outputs, and writes them as a model.

    `blobs` maps Caffe's names to values; several may share one value (Split and Dropout make no
    node). Constants may be float64, so that folding is exact; they are written as float32.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, Value] = {}
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.stated: dict[str, int] = {}
        """The number that the prototxt states for each open dimension; layers may repeat it."""
        self._reserved: set[str] = set()

    def reserve(self, names: Sequence[str]) -> None:
        """Reserve these names for the network's own values: `fresh` does not return them."""
        self._reserved.update(names)

    def fresh(self, name: str) -> str:
        """The name itself, or the name with a number if it is taken."""
        candidate, number = name, 1
        while candidate in self.values or candidate in self._reserved:
            number += 1
            candidate = f"{name}_{number}"
        return candidate

    def bind(self, blob: str, value: Value) -> None:
        """Assign this value to the network's blob of this name."""
        self.blobs[blob] = value

    def input(self, name: str, shape: Shape, dtype: DTypeLike = np.float32) -> Value:
        """Add an input of the graph, and the blob of that name."""
        value = self._add(Value(name, shape, np.dtype(dtype)))
        self.inputs.append(name)
        self.bind(name, value)
        return value

    def constant(self, content: ArrayLike, name: str, *, exact_name: bool = False) -> Value:
        """Add a constant under this name, or under a similar one if it is taken.

        `exact_name` is for a top of the network, whose name must not change.
        """
        array: Array = np.asarray(content)
        name = name if exact_name else self.fresh(name)
        return self._add(Value(name, array.shape, array.dtype, array))

    def node(
        self,
        operator: str,
        inputs: Sequence[Value | None],
        shape: Shape,
        *,
        name: str | None = None,
        dtype: DTypeLike = np.float32,
        **attributes: Any,
    ) -> Value:
        """Add an operator with one output of this shape; None stands for an omitted input.

        Without a name, the output is named after the first input. If all inputs are constants, the
        result is computed now and is a constant, unless it would be large.
        """
        return self.node_with_outputs(
            operator, inputs, [shape], names=[name], dtypes=[dtype], **attributes
        )[0]

    def node_with_outputs(
        self,
        operator: str,
        inputs: Sequence[Value | None],
        shapes: Sequence[Shape],
        *,
        names: Sequence[str | None] | None = None,
        dtypes: Sequence[DTypeLike] | None = None,
        **attributes: Any,
    ) -> list[Value]:
        """Add an operator with several outputs; see `node`."""
        stem = next((value.name for value in inputs if value is not None), "graph")
        values: list[Value] = []
        for position, shape in enumerate(shapes):
            name = names[position] if names else None
            dtype = np.dtype(dtypes[position] if dtypes else np.float32)
            values.append(Value(name or self.fresh(f"{stem}/{operator}"), shape, dtype))
            self._add(values[-1])
        node = Node(
            operator,
            tuple(value.name if value is not None else "" for value in inputs),
            tuple(value.name for value in values),
            attributes,
        )
        present = [value for value in inputs if value is not None]
        if (
            present
            and all(value.constant is not None for value in present)
            and _stays_small(present, values)
        ):
            return self._compute(node, values)
        self.nodes.append(node)
        return values

    def output(self, name: str, value: Value) -> None:
        """Make a value an output of the graph under this name."""
        if value.name == name and value.constant is not None:
            # A node must make each output: rename the constant, and let a node make its old name.
            del self.values[name]
            value = self.constant(value.constant, f"{name}/constant")
        if value.name != name:
            self._add(Value(name, value.shape, value.dtype))
            node = Node("Identity", (value.name,), (name,))
            self.nodes.insert(0 if value.constant is not None else len(self.nodes), node)
        elif name in self.inputs:
            raise ValueError(f"{name} is an input, so it can't be an output of the same name")
        self.outputs.append(name)

    def model(self, name: str, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
        """Build the model that the outputs need: equal constants once, all floats as float32."""
        nodes = self.needed_nodes()
        produced = {output for node in nodes for output in node.outputs}
        constants = self._constants(nodes)
        aliases = {alias: name for name, (_, names) in constants.items() for alias in names}
        graph = helper.make_graph(
            [
                helper.make_node(
                    node.operator,
                    [aliases.get(input_name, input_name) for input_name in node.inputs],
                    list(node.outputs),
                    name=node.outputs[0],
                    **node.attributes,
                )
                for node in nodes
            ],
            name,
            [self._value_info(value) for value in self.inputs],
            [self._value_info(value) for value in self.outputs],
            value_info=[
                self._value_info(value)
                for value in self.values
                if value in produced and value not in self.outputs
            ],
        )
        model = helper.make_model(
            graph,
            producer_name="sfd",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        # Add them one by one and in place: make_graph would copy the weights, most of the model.
        for constant, (array, _) in constants.items():
            _fill(model.graph.initializer.add(), constant, array)
        helper.set_model_props(model, dict(metadata or {}))
        return model

    def needed_nodes(self) -> list[Node]:
        """The nodes that the outputs depend on, in order."""
        needed = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        return kept[::-1]

    def _add(self, value: Value) -> Value:
        if value.name in self.values:
            raise ValueError(f"the graph already has a value named {value.name}")
        self.values[value.name] = value
        return value

    def _compute(self, node: Node, values: Sequence[Value]) -> list[Value]:
        graph = helper.make_graph(
            [helper.make_node(node.operator, node.inputs, node.outputs, **node.attributes)],
            "constant",
            [],
            [self._value_info(output) for output in node.outputs],
            [
                _tensor(name, self.values[name].constant)
                for name in dict.fromkeys(node.inputs)
                if name
            ],
        )
        results = _run(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))
        constants = [
            Value(value.name, result.shape, result.dtype, result)
            for value, result in zip(values, results, strict=True)
        ]
        self.values.update({constant.name: constant for constant in constants})
        return constants

    def _constants(self, nodes: Sequence[Node]) -> dict[str, tuple[Array, list[str]]]:
        """The constants that nodes read, with all their names; equal ones are listed once."""
        found: dict[str, tuple[Array, list[str]]] = {}
        alike: dict[object, list[str]] = {}
        for name in dict.fromkeys(name for node in nodes for name in node.inputs):
            constant = self.values[name].constant if name else None
            if constant is None:
                continue
            array = _as_written(constant)
            candidates = alike.setdefault(_resemblance(array), [])
            for candidate in candidates:
                other, names = found[candidate]
                if other is array or _bytes_equal(other, array):
                    names.append(name)
                    break
            else:
                candidates.append(name)
                found[name] = (array, [name])
        return found

    def _value_info(self, name: str) -> onnx.ValueInfoProto:
        value = self.values[name]
        dtype = np.dtype(np.float32) if value.dtype == np.float64 else value.dtype
        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(dtype), list(value.shape)
        )


def readers_of(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """The nodes that read each value, each of them once."""
    readers: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in dict.fromkeys(node.inputs):
            readers[name].append(node)
    return readers


def _run(model: onnx.ModelProto) -> list[Array]:
    """The outputs of a model without inputs.

    By onnxruntime, because ONNX's reference implementation computes LRN, and ConvTranspose with
    groups, wrongly (onnx 1.23).
    """
    model.ir_version = IR_VERSION
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(result) for result in session.run(None, {})]


def _stays_small(inputs: Sequence[Value], results: Sequence[Value]) -> bool:
    """Whether computed constants are small, or no larger than the constants they come from."""
    before, after = (
        sum(math.prod(dim for dim in value.shape if isinstance(dim, int)) for value in values)
        for values in (inputs, results)
    )
    return after <= max(before, MAX_FOLDED)


def _as_written(array: Array) -> Array:
    """The array in C order, with float64 as float32."""
    if array.dtype == np.float64:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    # ascontiguousarray turns a scalar into a vector.
    return np.ascontiguousarray(array).reshape(array.shape)


def _resemblance(array: Array) -> object:
    """A key that is equal for arrays of equal bytes."""
    return array.dtype, array.shape, array.reshape(-1)[:1024].tobytes()


def _bytes_equal(one: Array, other: Array) -> bool:
    # Compare bytes, so that -0.0 differs from 0.0 and NaN equals NaN.
    return np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8))


def _fill(tensor: TensorProto, name: str, array: Array) -> None:
    tensor.dims.extend(array.shape)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor.name = name
    tensor.raw_data = array.tobytes()


def _tensor(name: str, array: Array | None) -> TensorProto:
    if array is None:
        raise ValueError(f"{name} is not a constant")
    tensor = TensorProto()
    _fill(tensor, name, _as_written(array))
    return tensor
