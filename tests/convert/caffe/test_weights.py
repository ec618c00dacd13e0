from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pytest

from convert.caffe import caffe_pb2, weights, wire
from convert.caffe.diagnostics import CaffeError
from geometry.arrays import F32, F64


class Model(Protocol):
    prototxt: Path
    caffemodel: Path


Layers = Mapping[str, tuple[F32, ...]]


def equal(left: Layers, right: Layers) -> bool:
    return list(left) == list(right) and all(
        len(left[name]) == len(right[name])
        and all(
            a.dtype == b.dtype and np.array_equal(a, b)
            for a, b in zip(left[name], right[name], strict=True)
        )
        for name in left
    )


def save(path: Path, net: caffe_pb2.NetParameter) -> Path:
    path.write_bytes(net.SerializeToString())
    return path


def encoded(layers: Layers, encoding: str) -> caffe_pb2.NetParameter:
    net = caffe_pb2.NetParameter(name="twin")
    for name, arrays in layers.items():
        layer = net.layers.add(name=name) if encoding == "v1" else net.layer.add(name=name)
        for array in arrays:
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            if encoding == "double":
                blob.double_data.extend(array.ravel().tolist())
            elif encoding in ("float", "v1"):
                blob.data.extend(array.ravel().tolist())
            else:
                dtype = {"raw half": "<f2", "raw float": "<f4", "raw double": "<f8"}[encoding]
                blob.raw_data = array.astype(dtype).tobytes()
                kinds = {"<f2": caffe_pb2.FLOAT16, "<f4": caffe_pb2.FLOAT, "<f8": caffe_pb2.DOUBLE}
                blob.raw_data_type = kinds[dtype]
    return net


@pytest.mark.parametrize(
    "encoding", ["float", "double", "v1", "raw half", "raw float", "raw double"]
)
def test_the_same_weights_in_every_encoding_read_the_same(
    tmp_path: Path, small_blobs: Layers, encoding: str
) -> None:
    path = save(tmp_path / "twin.caffemodel", encoded(small_blobs, encoding))
    assert equal(weights.read(path), small_blobs)


def test_written_weights_read_the_same(tmp_path: Path, small_blobs: Layers) -> None:
    path = tmp_path / "net.caffemodel"
    weights.write(path, "small", small_blobs, types={"conv": "Convolution"})
    assert equal(weights.read(path), small_blobs)
    found = weights.read_all(path)
    assert found.name == "small"
    assert [layer.type for layer in found.layers] == ["Convolution", "", "", ""]


def test_writing_replaces_an_older_file(tmp_path: Path, small_blobs: Layers) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"old")
    weights.write(path, "small", small_blobs)
    assert equal(weights.read(path), small_blobs)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.caffemodel"]


def test_opencv_reads_what_is_written(small: Model, small_blobs: Layers) -> None:
    net = cv2.dnn.readNetFromCaffe(str(small.prototxt), str(small.caffemodel))
    image = np.random.default_rng(3).normal(size=(1, 3, 8, 8)).astype(np.float32)
    net.setInput(image)
    found = net.forward("prob")
    np.testing.assert_allclose(found, softmax_of_small(image, small_blobs), atol=1e-5)


def softmax_of_small(image: F32, blobs: Layers) -> F64:
    """The small network by Caffe's formulas, in doubles."""
    kernel, bias = blobs["conv"]
    padded = np.pad(image[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    conv = np.einsum("chwij,ocij->ohw", windows, kernel) + bias[:, None, None]
    mean, variance, factor = (
        blob[:, None, None] / blobs["conv/bn"][2] for blob in blobs["conv/bn"]
    )
    assert factor == 1
    gamma, beta = (blob[:, None, None] for blob in blobs["conv/scale"])
    conv = np.maximum((conv - mean) / np.sqrt(variance + 0.001) * gamma + beta, 0)
    matrix, offset = blobs["fc"]
    logits = matrix @ conv.ravel() + offset
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), np.float64)[None]


def test_opencv_gives_the_same_outputs_for_a_rewritten_real_model(
    tmp_path: Path, shared: Path
) -> None:
    folder = shared / "models/upstream/sfd-320-mod11g"
    prototxt, original = folder / "deploy.prototxt", folder / "weights.caffemodel"
    copy = tmp_path / "copy.caffemodel"
    weights.write(copy, "copy", weights.read(original))
    image = np.random.default_rng(5).normal(0, 60, (1, 3, 320, 320)).astype(np.float32)
    outputs = []
    for path in (original, copy):
        net = cv2.dnn.readNetFromCaffe(str(prototxt), str(path))
        net.setInput(image)
        outputs.append(net.forward(["mbox_conf_flatten", "detection_out"]))
    for left, right in zip(*outputs, strict=True):
        np.testing.assert_array_equal(left, right)


def test_names_in_the_oldest_form_are_found(tmp_path: Path) -> None:
    net = caffe_pb2.NetParameter()
    old = net.layers.add()
    old.layer.name = "conv1"
    old.layer.type = "conv"
    old.layer.blobs.add(num=1, channels=1, height=1, width=2, data=[1.0, 2.0])
    found = weights.read_all(save(tmp_path / "v0.caffemodel", net))
    assert [(layer.name, layer.type) for layer in found.layers] == [("conv1", "Convolution")]
    np.testing.assert_array_equal(found.layers[0].blobs[0], [[[[1, 2]]]])


def test_unknown_fields_are_reported_and_counted(tmp_path: Path, small_blobs: Layers) -> None:
    net = encoded(small_blobs, "float")
    data = net.SerializeToString()
    # Field 77 as a varint: once in the network, once in an added layer, twice in its blob.
    field = b"\xe8\x04\x01"
    blob = caffe_pb2.BlobProto(data=[1.0]).SerializeToString() + field * 2
    layer = caffe_pb2.LayerParameter(name="odd").SerializeToString() + field
    layer += b"\x3a" + bytes([len(blob)]) + blob
    data += field + b"\xa2\x06" + bytes([len(layer)]) + layer
    path = tmp_path / "odd.caffemodel"
    path.write_bytes(data)
    found = weights.read_all(path)
    assert [str(warning) for warning in found.warnings] == [
        "unknown field 77 of the network of the weights file is ignored (1 times)",
        "unknown field 77 of a layer of the weights file is ignored (1 times)",
        "unknown field 77 of a blob of the weights file is ignored (2 times)",
    ]
    assert weights.read(path)["odd"][0] == 1


def test_the_last_layer_of_a_name_counts(tmp_path: Path) -> None:
    net = caffe_pb2.NetParameter()
    for value in (1.0, 2.0):
        net.layer.add(name="a").blobs.add(data=[value])
    found = weights.read_all(save(tmp_path / "twice.caffemodel", net))
    assert [layer.blobs[0].item() for layer in found.layers] == [2.0]
    assert "twice" in str(found.warnings[0])


def test_all_bad_blobs_are_reported_at_once(tmp_path: Path) -> None:
    net = caffe_pb2.NetParameter()
    for name in ("a", "b"):
        net.layer.add(name=name).blobs.add(data=[1.0, 2.0])
    path = save(tmp_path / "bad.caffemodel", net)
    with pytest.raises(CaffeError) as caught:
        weights.read(path)
    assert [problem.layer for problem in caught.value.diagnostics] == ["a", "b"]
    assert [len(layer.problems) for layer in weights.read_all(path).layers] == [1, 1]


def test_a_name_may_be_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "odd.caffemodel"
    blob = caffe_pb2.BlobProto(data=[1.0]).SerializeToString()
    layer = b"\x0a\x02\xff\xfe" + b"\x3a" + bytes([len(blob)]) + blob
    path.write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
    assert list(weights.read(path)) == ["\ufffd\ufffd"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"\x89HDF\r\n\x1a\n", "snapshot_format: BINARYPROTO"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04abc", "unpack it first"),
        (b"\x08\x08\x12\x03sfd:\x00", "an ONNX file, not one of Caffe's"),
        (b'name: "net"\nlayer {\n}\n', "the prototxt comes first"),
        (b"<html>Not found</html>", "not a caffemodel"),
        (b"\x0a\x03net", "it holds no layer"),
        (b"\xa2\x06\x03\x0a\x01a", "it describes a network but holds no weights"),
        (b"\xff" * 100, "not a caffemodel"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.caffemodel"
    path.write_bytes(data)
    with pytest.raises(CaffeError, match=message) as caught:
        weights.read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaffeError, match="can't read it: No such file"):
        weights.read(tmp_path / "none.caffemodel")


def test_the_error_of_a_truncated_file_counts_the_whole_layers(
    tmp_path: Path, small_blobs: Layers
) -> None:
    data = encoded(small_blobs, "float").SerializeToString()
    path = tmp_path / "cut.caffemodel"
    path.write_bytes(data[:-10])
    with pytest.raises(CaffeError, match=r"truncated: .* after the first 3; get the file again"):
        weights.read(path)


def test_the_error_of_a_damaged_file_names_the_last_whole_layer(
    tmp_path: Path, small_blobs: Layers
) -> None:
    data = encoded(small_blobs, "float").SerializeToString()
    path = tmp_path / "bad.caffemodel"
    path.write_bytes(data + b"\x07\x07")
    with pytest.raises(CaffeError, match="damaged after its first 4 layers"):
        weights.read(path)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_whose_download_was_interrupted_ends_with_zeros(
    tmp_path: Path, small_blobs: Layers, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr(weights, "MAPPED_BYTES", 1)
    path = tmp_path / "zeros.caffemodel"
    for begin in (b"", encoded(small_blobs, "float").SerializeToString()):
        begin = begin.rstrip(b"\0")
        path.write_bytes(begin + bytes(3 << 20))
        message = f"only zeros from byte {len(begin)} on, so the download is probably incomplete"
        with pytest.raises(CaffeError, match=message):
            weights.read(path)


def test_no_field_has_the_number_0(tmp_path: Path, small_blobs: Layers) -> None:
    data = encoded(small_blobs, "float").SerializeToString()
    with pytest.raises(wire.WireError, match="field number 0"):
        wire.cut(data + b"\0\0")
    path = tmp_path / "bad.caffemodel"
    path.write_bytes(data + b"\0\0" + data)
    with pytest.raises(CaffeError, match="damaged after its first 4 layers"):
        weights.read(path)


def test_real_files_read_with_no_warning(shared: Path) -> None:
    paths = sorted((shared / "models").rglob("*.caffemodel"))
    assert len(paths) >= 7
    for path in paths:
        found = weights.read_all(path)
        assert found.warnings == ()
        assert len(found.layers) > 50
        assert not any(layer.problems for layer in found.layers)
