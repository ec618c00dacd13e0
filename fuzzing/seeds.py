"""Writes the seed corpora of the targets: `python fuzzing/seeds.py FOLDER` makes FOLDER/TARGET/."""

import base64
import io
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fuzz_caffemodel import PROTOTXT
from PIL import Image

from convert.caffe import weights

HERE = Path(__file__).resolve().parent
CASES = HERE / "cases"
"""Inputs that failed once, by target. They are seeds for ever."""

LAYERS = """\
input: "data" input_dim: 1 input_dim: 3 input_dim: 32 input_dim: 32
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 dilation: 1 group: 1 } }
layer { name: "d" type: "Deconvolution" bottom: "c" top: "d"
  convolution_param { num_output: 4 kernel_h: 2 kernel_w: 2 stride_h: 2 stride_w: 2 } }
layer { name: "p" type: "Pooling" bottom: "d" top: "p"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "s" type: "Slice" bottom: "p" top: "s1" top: "s2"
  slice_param { axis: 1 slice_point: 2 } }
layer { name: "e" type: "Eltwise" bottom: "s1" bottom: "s2" top: "e"
  eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layer { name: "w" type: "Power" bottom: "e" top: "w" power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "k" type: "Concat" bottom: "e" bottom: "w" top: "k" concat_param { axis: 1 } }
layer { name: "r" type: "Reshape" bottom: "k" top: "r"
  reshape_param { shape { dim: 0 dim: -1 } } }
layer { name: "i" type: "InnerProduct" bottom: "r" top: "i"
  inner_product_param { num_output: 5 } }
layer { name: "x" type: "Softmax" bottom: "i" top: "x" softmax_param { axis: 1 } }
"""
SSD = """\
input: "data" input_shape { dim: 1 dim: 3 dim: 32 dim: 32 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 8 } }
layer { name: "lp" type: "Permute" bottom: "c" top: "lp"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "l" type: "Flatten" bottom: "lp" top: "l" flatten_param { axis: 1 } }
layer { name: "f" type: "Convolution" bottom: "c" top: "f"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "fp" type: "Permute" bottom: "f" top: "fp"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "fr" type: "Reshape" bottom: "fp" top: "fr"
  reshape_param { shape { dim: 0 dim: -1 dim: 2 } } }
layer { name: "fs" type: "Softmax" bottom: "fr" top: "fs" softmax_param { axis: 2 } }
layer { name: "ff" type: "Flatten" bottom: "fs" top: "ff" }
layer { name: "p" type: "PriorBox" bottom: "c" bottom: "data" top: "p"
  prior_box_param { min_size: 8 max_size: 16 flip: true clip: false variance: 0.1 step: 8
    offset: 0.5 } }
layer { name: "o" type: "DetectionOutput" bottom: "l" bottom: "ff" bottom: "p" top: "o"
  include { phase: TEST }
  detection_output_param { num_classes: 2 code_type: CENTER_SIZE keep_top_k: 5
    confidence_threshold: 0.4 nms_param { nms_threshold: 0.45 top_k: 8 } } }
"""
OLD_LAYERS = """\
name: "old" input: "data" input_dim: 1 input_dim: 1 input_dim: 8 input_dim: 8
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c"
  convolution_param { num_output: 2 kernel_size: 3 } }
layers { name: "l" type: LRN bottom: "c" top: "l" lrn_param { local_size: 3 alpha: 1e-4 } }
layers { name: "r" type: RELU bottom: "l" top: "l" }
"""


def prototxts() -> Iterator[tuple[str, bytes]]:
    """Networks with many kinds of layers. They are small, because each change is a run."""
    yield "layers", LAYERS.encode()
    yield "old", OLD_LAYERS.encode()
    yield "small", PROTOTXT
    yield "ssd", SSD.encode()


def caffemodels() -> Iterator[tuple[str, bytes]]:
    """Weights that fit the network of `fuzz_caffemodel`."""
    shapes: dict[str, list[tuple[int, ...]]] = {
        "conv": [(2, 3, 3, 3), (2,)],
        "bn": [(2,), (2,), (1,)],
        "scale": [(2,), (2,)],
        "relu": [(2,)],
        "fc": [(2, 18), (2,)],
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        blobs = {
            name: [np.full(shape, 0.5, np.float32) for shape in each]
            for name, each in shapes.items()
        }
        weights.write(path, "small", blobs)
        yield "whole", path.read_bytes()
        weights.write(path, "small", {"conv": blobs["conv"]})
        yield "conv", path.read_bytes()


def image_files() -> Iterator[tuple[str, bytes]]:
    """A small picture in each format, with the variants that take other paths."""
    image = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    for kind in ("JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", "AVIF"):
        yield kind, encode(image, kind)
    yield "jpeg-turned", encode(image, "JPEG", exif=turned)
    yield "jpeg-progressive", encode(image, "JPEG", progressive=True)
    yield "jpeg-cmyk", encode(image.convert("CMYK"), "JPEG")
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield f"png-{mode.replace(';', '')}", encode(image.convert("L").convert(mode), "PNG")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"tiff-{compression}", encode(image, "TIFF", compression=compression)
    yield "tiff-float", encode(image.convert("F"), "TIFF")
    frames = [image, image.rotate(180)]
    yield "gif-frames", encode(image, "GIF", save_all=True, append_images=frames)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bodies() -> Iterator[tuple[str, bytes]]:
    """Forms and JSON, each after the line of its Content-Type."""
    form = b"multipart/form-data; boundary=b\n"
    file = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nPNG\r\n'
    field = b'--b\r\nContent-Disposition: form-data; name="min_score"\r\n\r\n0.5\r\n'
    typed = b"--b\r\nContent-Type: image/png\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n"
    extended = b"--b\r\nContent-Disposition: form-data; name=a; filename*=UTF-8''a\r\n\r\n\r\n"
    yield "form", form + file + field + b"--b--\r\n"
    yield "form-files", form + file * 3 + typed + extended + b"--b--\r\n"
    yield "form-open", form + b"preamble\r\n" + file
    text = base64.b64encode(b"image").decode()
    members: dict[str, dict[str, object]] = {
        "image": {"image": text, "min_score": 0.5, "tiles": True, "x": None},
        "images": {"images": [text, f"data:image/png;base64,{text}"]},
        "url": {"url": "http://example.org/a"},
        "urls": {"urls": ["http://example.org/a", "b"], "max_faces": 2},
    }
    for name, body in members.items():
        yield f"json-{name}", b"application/json\n" + json.dumps(body).encode()
    yield "guessed", b"\n" + json.dumps({"image": text}).encode()
    yield "raw", b"image/png\nPNG"


def requests() -> Iterator[tuple[str, bytes]]:
    """Both inputs, as JSON and as binary data."""
    text = base64.b64encode(b"image").decode()
    pixels = [7] * (4 * 4 * 3)
    parameters = {"min_score": 0.5, "tiles": False, "binary_data_output": True, "timeout": 1000}
    wanted = [{"name": "detections", "parameters": {"binary_data": False}}]
    element = struct.pack("<I", 5) + b"image"
    cases: dict[str, tuple[dict[str, object], object, bytes]] = {
        "files": ({"name": "image", "shape": [2], "datatype": "BYTES"}, [text, text], b""),
        "column": ({"name": "image", "shape": [1, 1], "datatype": "BYTES"}, [[text]], b""),
        "pixels": ({"name": "images", "shape": [1, 4, 4, 3], "datatype": "UINT8"}, pixels, b""),
        "binary": ({"name": "image", "shape": [1], "datatype": "BYTES"}, None, element),
        "raw": ({"name": "images", "shape": [1, 4, 4, 3], "datatype": "UINT8"}, None, bytes(48)),
    }
    for name, (tensor, data, binary) in cases.items():
        tensor |= {"parameters": {"binary_data_size": len(binary)}} if binary else {"data": data}
        message = {"id": name, "parameters": parameters, "inputs": [tensor]}
        if tensor["name"] == "image":
            message["outputs"] = wanted
        head = json.dumps(message).encode()
        yield name, (b"%d" % len(head) if binary else b"") + b"\n" + head + binary
    yield "chosen", b"!\n" + bytes([0, 1, 0, 0, 0, 1, 0, 9]) + bytes(40)
    yield "chosen-pixels", b"!\n" + bytes([0, 1, 3, 1, 1, 1, 3, 1, 0, 0, 0, 0]) + bytes(40)


SEEDS = {
    "prototxt": prototxts,
    "caffemodel": caffemodels,
    "image": image_files,
    "body": bodies,
    "tensors": requests,
}
"""The seeds of each target; its script is fuzz_TARGET.py."""


def write(target: str, folder: Path) -> None:
    """Write the seeds of a target, and the cases that failed once, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in SEEDS[target]():
        (folder / f"seed-{name}").write_bytes(data)
    for case in sorted((CASES / target).glob("*")):
        (folder / f"case-{case.name}").write_bytes(case.read_bytes())


if __name__ == "__main__":
    for each in SEEDS:
        write(each, Path(sys.argv[1]) / each)
