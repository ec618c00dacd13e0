"""Fuzzes the requests of the Open Inference Protocol: JSON, and binary data after it.

Every body gives files or pixels in the shape that it states, or a RequestError of a status below
500.

The first line of an input is the value of Inference-Header-Content-Length, or empty; the rest is
the body. After a first line of `!`, each byte chooses a part of a request, so that the fuzzer
reaches tensors without having to keep JSON valid.
"""

import json
from typing import Any

from harness import instrumented, main

with instrumented():
    from detection.errors import RequestError
    from service.openinference import inference, messages, tensors
    from service.openinference.messages import ModelMetadata, TensorMetadata

MAX_IMAGES = 4
SIDE = 4
METADATA = ModelMetadata(
    name="small",
    versions=["1"],
    platform="onnxruntime_onnx",
    inputs=[
        TensorMetadata(name="image", datatype="BYTES", shape=[-1]),
        TensorMetadata(name="images", datatype="UINT8", shape=[-1, SIDE, SIDE, 3]),
    ],
    outputs=[],
)


NAMES = ("image", "images", "other")
DATATYPES = ("BYTES", "UINT8", "FP32")
SIZES = (0, 1, 2, 3, 4, 5, 48, 96, 2**31, -1)
VALUES: tuple[Any, ...] = (
    0,
    1,
    255,
    256,
    -1,
    1.5,
    True,
    None,
    "",
    "aW1hZ2U=",
    "data:,YQ==",
    "é",
    "%",
    [],
    {},
)
KEYS = ("binary_data_size", "shared_memory_region", "min_score", "tiles", "timeout", "max_faces")


class Choices:
    """A stream of bytes, each of which chooses one of several; zeros at its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def below(self, most: int) -> int:
        """A number from 0 to below `most`."""
        self.at += 1
        return self.data[self.at - 1] % most if self.at <= len(self.data) else 0

    def of(self, values: tuple[Any, ...]) -> Any:
        """One of the values."""
        return values[self.below(len(values))]

    def parameters(self) -> dict[str, Any]:
        """Up to two parameters."""
        return {self.of(KEYS): self.of((*VALUES, *SIZES)) for _ in range(self.below(3))}

    def tensor(self) -> dict[str, Any]:
        """An input; often one that is nearly right."""
        shapes = ([1], [2], [1, 1], [1, SIDE, SIDE, 3], [2, SIDE, SIDE, 3])
        shape = self.of(shapes) if self.below(4) else [self.of(SIZES) for _ in range(self.below(5))]
        tensor = {"name": self.of(NAMES), "shape": shape, "datatype": self.of(DATATYPES)}
        if self.below(2):
            count = self.of((1, 2, 47, 48, 96))
            data = [self.of(VALUES)] * count + [self.of(VALUES) for _ in range(self.below(3))]
            tensor["data"] = [data] if self.below(4) == 3 else data
        if self.below(3):
            tensor["parameters"] = self.parameters()
        return tensor

    def request(self) -> tuple[bytes, str | None]:
        """A body, and the length of its JSON if binary data follows it."""
        inputs = [self.tensor() for _ in range(1 + self.below(10) // 9)]
        message: dict[str, Any] = {"inputs": inputs}
        if self.below(3) == 2:
            message["parameters"] = self.parameters()
        header = json.dumps(message).encode()
        binary = self.data[self.at : self.at + self.of(SIZES[:8])]
        if not self.below(2):
            return header, None
        if self.below(2):
            inputs[0].setdefault("parameters", {})["binary_data_size"] = len(binary)
            header = json.dumps(message).encode()
        return header + binary, str(len(header))


def one(data: bytes) -> None:
    """Read one request."""
    head, _, body = data.partition(b"\n")
    length = head.decode("latin-1") or None
    if head == b"!":
        body, length = Choices(body).request()
    try:
        read(body, length)
    except RequestError as error:
        assert error.status < 500, error
        assert str(error).strip(), "an error without a message"


def read(body: bytes, header_length: str | None) -> None:
    """As `service.routes.inference` reads a request."""
    header, binary = tensors.split(body, header_length)
    message = messages.parse(header)
    messages.parse_parameters(message.parameters).query()
    inference.check(message, METADATA)
    (received,) = tensors.assign(message, binary)
    if not 0 < received.tensor.shape[0] <= MAX_IMAGES:
        return
    if received.tensor.name == inference.FILES:
        files = tensors.files(received)
        assert len(files) == received.tensor.shape[0]
    else:
        assert tensors.pixels(received).shape == (received.tensor.shape[0], SIDE, SIDE, 3)


if __name__ == "__main__":
    main(one)
