"""Good photographs with their answers, and files made to hurt."""

import base64
import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

BOXES = 0.05
"""Pixels by which a box may differ: a batch of another size adds in another order."""
SCORES = 0.002

DRAWN = "?render=boxes&min_score=0"


@dataclass(frozen=True)
class Good:
    """A photograph, and the faces that the service finds when it does nothing else."""

    name: str
    data: bytes
    faces: tuple[tuple[float, ...], ...]
    """x, y, width, height, score of each."""

    def is_answer(self, answer: dict[str, Any]) -> bool:
        """Whether an answer has the same faces."""
        faces = faces_of(answer)
        return len(faces) == len(self.faces) and all(
            abs(a - b) <= (BOXES if index < 4 else SCORES)
            for one, other in zip(faces, self.faces, strict=True)
            for index, (a, b) in enumerate(zip(one, other, strict=True))
        )


def faces_of(answer: dict[str, Any]) -> tuple[tuple[float, ...], ...]:
    """The faces in an answer of /detect, from left to right, so that ties have one order."""
    faces = [
        (box["x"], box["y"], box["width"], box["height"], face["score"])
        for face in answer["faces"]
        for box in [face["box"]]
    ]
    return tuple(sorted(faces))


def ask_alone(url: str, files: dict[str, bytes]) -> list[Good]:
    """Each photograph with its answer."""
    good = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for name, data in files.items():
            answer = client.post("/detect", content=data)
            assert answer.status_code == 200, answer.text
            good.append(Good(name, data, faces_of(answer.json())))
    return good


@dataclass(frozen=True)
class Hostile:
    """A request that should not disturb others."""

    name: str
    data: bytes
    query: str = ""
    content_type: str = "application/octet-stream"


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def breaking() -> bytes:
    """The picture on which the inference of `service.BREAKING` fails."""
    return encode(Image.new("RGB", (64, 64), (255, 0, 255)))


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A black grey PNG of any size, which takes few bytes, with further chunks."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj()
    row = bytes(width + 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    all_chunks = [(b"IHDR", head), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in all_chunks
    )


def tiff_of_strips(count: int, step: int) -> bytes:
    """A TIFF, one pixel wide, of `count` strips of one row; every other begins `step` later."""
    head, entries = 8, 9
    ifd = head + 16
    arrays = ifd + 2 + entries * 12 + 4
    offsets = [head + step * (index % 2) for index in range(count)]
    tags = [
        (256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, count, arrays), (277, 3, 1, 1), (278, 4, 1, 1),
        (279, 4, count, arrays + 4 * count),
    ]  # fmt: skip
    return b"".join(
        [
            b"II*\0", struct.pack("<I", ifd), bytes(16), struct.pack("<H", entries),
            *(struct.pack("<HHII", *tag) for tag in tags), bytes(4),
            struct.pack(f"<{count}I", *offsets), struct.pack(f"<{count}I", *[1] * count),
        ]
    )  # fmt: skip


def rle_bmp(width: int, height: int) -> bytes:
    """A BMP in run-length encoding that ends after a few bytes."""
    data = b"\x02\x01\x00\x01"
    palette = bytes(8)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 2, 0)
    offset = 14 + len(head) + len(palette)
    file = struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset)
    return file + head + palette + data


def jpeg_segments(marker: int, content: bytes, times: int) -> bytes:
    """A JPEG with a segment many times."""
    data = encode(Image.new("RGB", (64, 64)), "JPEG")
    segment = b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content
    return data[:2] + segment * times + data[2:]


def jpeg_of_scans(times: int, between: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan stands there many times."""
    data = encode(Image.linear_gradient("L").resize((64, 64)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + (between + data[last:-2]) * times + data[-2:]


def made(scale: int = 1) -> list[Hostile]:
    """Small files of the kinds that have hurt this service or Pillow; `scale` makes them larger."""
    photo = encode(Image.effect_noise((640, 480), 60), "JPEG")
    gif = [Image.new("P", (64, 64), index) for index in range(20)]
    text = base64.b64encode(photo).decode()
    files = {
        "empty": b"",
        "text": b"this is not a picture",
        "html": b"<!DOCTYPE html><title>x</title>",
        "zip": b"PK\x03\x04" + bytes(100),
        "heic": b"\0\0\0\x18ftypheic" + bytes(100),
        "jpeg-head": photo[:3],
        "jpeg-cut": photo[: len(photo) // 2],
        "jpeg-zeroed": photo[:400] + bytes(len(photo) - 400),
        "png-cut": encode(Image.new("RGB", (640, 480)))[:-40],
        "png-bomb": png(16_000, 16_000),
        "png-lies": png(64, 64)[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + bytes(60),
        "png-iccp": png(64, 64, *[(b"iCCP", b"p\0\0" + zlib.compress(bytes(1000)))] * 2000 * scale),
        "tiff-strips": tiff_of_strips(20_000 * scale, 0),
        "tiff-steps": tiff_of_strips(20_000 * scale, 1),
        "bmp-rle": rle_bmp(20_000, 50 * scale),
        "gif-frames": encode(gif[0], "GIF", save_all=True, append_images=gif[1:]),
        "jpeg-exif": jpeg_segments(0xE1, b"Exif\0\0" + bytes(60), 2000 * scale),
        "jpeg-scans": jpeg_of_scans(500 * scale),
        "jpeg-scans-hidden": jpeg_of_scans(200 * scale, b"\xff\x01"),
    }  # fmt: skip
    sent = [Hostile(name, data) for name, data in files.items()]
    json_bodies = {
        "json-long-key": json.dumps({"image": text, "k" * 50_000 * scale: 1}),
        "json-nested": "[" * 5000 * scale,
        "json-not-base64": json.dumps({"image": "%" * 1000}),
        "json-many": json.dumps({"images": [text] * 40}),
    }
    sent += [
        Hostile(name, body.encode(), content_type="application/json")
        for name, body in json_bodies.items()
    ]
    form = "multipart/form-data; boundary=b"
    disposition = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
    sent += [
        Hostile("form-open", disposition + photo, content_type=form),
        Hostile("form-many", (disposition + b"\r\n") * 100 + b"--b--\r\n", content_type=form),
        Hostile("form-no-boundary", photo, content_type="multipart/form-data"),
        Hostile("png-wide", png(100_000 * scale, 1), query=DRAWN),
    ]
    return sent


def stored(folder: Path) -> list[Hostile]:
    """Every file under a folder, as it is and drawn."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        Hostile(str(path.relative_to(folder)), path.read_bytes(), query, content_type)
        for path in files
        for content_type in [
            "application/json" if path.suffix == ".json" else "application/octet-stream"
        ]
        for query in ("", DRAWN)
    ]
