import numpy as np
import pytest

from convert.tensorflow import tensor
from convert.tensorflow.graph_pb2 import (
    DT_BFLOAT16,
    DT_DOUBLE,
    DT_FLOAT,
    DT_HALF,
    DT_INT32,
    DT_QUINT8,
    NodeDef,
    TensorProto,
)


def const(shape: tuple[int, ...], dtype: int, **fields: object) -> NodeDef:
    node = NodeDef(name="x", op="Const")
    node.attr["value"].tensor.CopyFrom(TensorProto(**fields))  # type: ignore[arg-type]
    node.attr["value"].tensor.dtype = dtype  # type: ignore[assignment]
    for size in shape:
        node.attr["value"].tensor.tensor_shape.dim.add(size=size)
    return node


VALUES = [[1.5, -2.0, 0.25], [3.0, 0.0, -0.5]]
FLAT = [value for row in VALUES for value in row]
HALVES = np.array(FLAT, "<f2").view("<u2").tolist()
BRAINS = (np.array(FLAT, "<f4").view("<u4") >> 16).astype("<u2")


@pytest.mark.parametrize(
    ("dtype", "fields"),
    [
        (DT_FLOAT, {"tensor_content": np.array(FLAT, "<f4").tobytes()}),
        (DT_FLOAT, {"float_val": FLAT}),
        (DT_DOUBLE, {"tensor_content": np.array(FLAT, "<f8").tobytes()}),
        (DT_DOUBLE, {"double_val": FLAT}),
        (DT_HALF, {"tensor_content": np.array(FLAT, "<f2").tobytes()}),
        (DT_HALF, {"half_val": HALVES}),
        (DT_BFLOAT16, {"tensor_content": BRAINS.tobytes()}),
        (DT_BFLOAT16, {"half_val": BRAINS.tolist()}),
    ],
)
def test_every_encoding_gives_the_same_values(dtype: int, fields: dict[str, object]) -> None:
    found = tensor.decode(const((2, 3), dtype, **fields))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(VALUES, np.float32))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2.0], [[2, 2, 2], [2, 2, 2]]),
        ([1.0, 5.0], [[1, 5, 5], [5, 5, 5]]),
        ([], [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_the_last_value_fills_the_shape(values: list[float], expected: list[list[float]]) -> None:
    found = tensor.decode(const((2, 3), DT_FLOAT, float_val=values))
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_the_last_half_fills_the_shape() -> None:
    found = tensor.decode(const((3,), DT_HALF, half_val=HALVES[:1]))
    np.testing.assert_array_equal(found, np.full(3, 1.5, np.float32))


def test_a_scalar_and_an_empty_tensor_are_read() -> None:
    assert tensor.decode(const((), DT_FLOAT, float_val=[3.0])) == np.float32(3)
    assert tensor.decode(const((0, 4), DT_FLOAT)).shape == (0, 4)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (NodeDef(name="x"), "no value"),
        (const((2,), DT_INT32, tensor_content=b"12345678"), "type is DT_INT32"),
        (const((2,), DT_QUINT8, tensor_content=b"12"), "type is DT_QUINT8"),
        (const((2,), 99, tensor_content=b"12"), "type is TensorFlow's number 99"),
        (const((2,), DT_FLOAT, tensor_content=b"1234567"), "7 bytes are not a whole number"),
        (const((2,), DT_FLOAT, tensor_content=b"1234"), "1 values where its shape 2 has 2"),
        (const((2,), DT_FLOAT, float_val=[1, 2, 3]), "3 values where its shape 2 has 2"),
        (const((-1, 2), DT_FLOAT, float_val=[1]), "not fully known"),
        (const((1 << 40, 1 << 40), DT_FLOAT, float_val=[1]), "more than any layer has"),
        (const((2,), DT_FLOAT, float_val=[1, float("nan")]), "1 of its 2 values are infinite"),
        (const((1,), DT_DOUBLE, double_val=[1e300]), "infinite"),
        (const((1,), DT_HALF, half_val=[1 << 16]), "more than 16 bits"),
        (const((1,), DT_HALF, half_val=[-1]), "more than 16 bits"),
    ],
)
def test_an_inconsistent_constant_is_explained(node: NodeDef, message: str) -> None:
    with pytest.raises(tensor.TensorError, match=message):
        tensor.decode(node)
