import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from convert.caffe import caffe_pb2
from convert.caffe.blobs import BlobError, decode, encode, shape_of

HALVES = np.array([[0.5, -1.25, 3], [65504, -6.1035e-05, 0]], np.float16)


def blob(**fields: object) -> caffe_pb2.BlobProto:
    dims = fields.pop("dim", None)
    made = caffe_pb2.BlobProto(**fields)  # type: ignore[arg-type]
    if dims is not None:
        made.shape.dim.extend(dims)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    "fields",
    [
        {"data": HALVES.ravel().tolist()},
        {"double_data": HALVES.ravel().tolist()},
        {"raw_data": HALVES.tobytes(), "raw_data_type": caffe_pb2.FLOAT16},
        {"raw_data": HALVES.astype("<f4").tobytes(), "raw_data_type": caffe_pb2.FLOAT},
        {"raw_data": HALVES.astype("<f8").tobytes(), "raw_data_type": caffe_pb2.DOUBLE},
        {"raw_data": HALVES.astype("<f8").tobytes()},
        {"raw_data": HALVES.tobytes(), "raw_data_type": caffe_pb2.FLOAT16, "data": [1.0]},
        {"double_data": HALVES.ravel().tolist(), "data": [1.0]},
    ],
)
def test_every_encoding_of_the_same_values_gives_the_same_array(fields: dict[str, object]) -> None:
    array = decode(blob(dim=[2, 3], **fields))
    assert array.dtype == np.float32
    assert array.flags.writeable
    np.testing.assert_array_equal(array, HALVES.astype(np.float32), strict=True)


def test_floats_that_are_not_packed_are_read() -> None:
    # One key (field 5, 4 bytes) a value, as writers before protobuf 2.3 did.
    unpacked = b"".join(b"\x2d" + value.tobytes() for value in np.array([1.5, -2], "<f4"))
    shape = blob(dim=[2]).SerializeToString()
    array = decode(caffe_pb2.BlobProto.FromString(unpacked + shape))
    np.testing.assert_array_equal(array, [1.5, -2])


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"dim": [2, 3]}, (2, 3)),
        ({"dim": []}, ()),
        ({}, ()),
        ({"num": 1, "channels": 2, "height": 3, "width": 4}, (1, 2, 3, 4)),
        ({"num": 1, "channels": 1, "height": 1, "width": 4}, (1, 1, 1, 4)),
        ({"width": 4}, (0, 0, 0, 4)),
        ({"num": 1, "channels": 1, "height": 1, "width": 4, "dim": [4]}, (1, 1, 1, 4)),
    ],
)
def test_legacy_dimensions_come_before_the_shape(
    fields: dict[str, object], shape: tuple[int, ...]
) -> None:
    assert shape_of(blob(**fields)) == shape


def test_a_blob_without_a_shape_is_a_scalar() -> None:
    assert decode(blob(data=[2.0])).shape == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": [3], "data": [1.0, 2.0]}, "it has 2 values where its shape 3 has 3"),
        ({"dim": [2, 2], "data": [1.0]}, "it has 1 values where its shape 2×2 has 4"),
        ({"dim": [4]}, "it has 0 values where its shape 4 has 4"),
        ({"data": [1.0, 2.0]}, r"it has 2 values where its shape \(\) has 1"),
        ({"dim": [-1, -1], "data": [1.0]}, "-1×-1 has a negative dimension"),
        ({"num": -4}, "negative dimension"),
        ({"dim": [1] * 33, "data": [1.0]}, "33 dimensions"),
        ({"dim": [2**40, 2**40], "data": [1.0]}, "it has 1 values where its shape"),
        ({"dim": [2**32, 2**32]}, "it has 0 values where its shape"),
        ({"dim": [1], "raw_data": b"abc", "raw_data_type": caffe_pb2.FLOAT16}, "3 bytes"),
        ({"dim": [1], "raw_data": b"abcd", "raw_data_type": caffe_pb2.INT}, "integers"),
        ({"dim": [2], "data": [1.0, float("nan")]}, "1 of its 2 values are infinite or NaN"),
        ({"dim": [2], "data": [float("inf")] * 2}, "2 of its 2 values"),
        ({"dim": [1], "double_data": [1e300]}, "1 of its 1 values are infinite"),
    ],
)
def test_a_blob_that_contradicts_itself_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(BlobError, match=message):
        decode(blob(**fields))


def test_an_absurd_shape_allocates_nothing() -> None:
    absurd = blob(dim=[2**31, 2**31], data=[1.0])
    tracemalloc.start()
    with pytest.raises(BlobError):
        decode(absurd)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=0, min_side=0, max_dims=5, max_side=4),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_any_array_survives_encoding_and_decoding(array: np.ndarray) -> None:
    proto = caffe_pb2.BlobProto.FromString(encode(array).SerializeToString())
    np.testing.assert_array_equal(decode(proto), array, strict=True)
