"""The protobuf messages of the protocol, from and to those that HTTP and gRPC share."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from detection.detector import Detector
from service.errors import InvalidRequest, PayloadTooLarge
from service.openinference import inference, messages, tensors, wire
from service.openinference import inference_pb2 as pb
from service.openinference.inference import FILES, Arrays
from service.openinference.messages import MOST_VALUES, InferenceRequest, TensorMetadata
from service.openinference.tensors import Received

Kind = TypeVar("Kind", bound=Message)


def parse(data: bytes, kind: type[Kind]) -> Kind:
    """A message of a kind. Slow for a large one: run it in a thread.

    Raises InvalidRequest, and PayloadTooLarge for more values than a request can need.
    """
    wire.check(memoryview(data), cast(Descriptor, kind.DESCRIPTOR))
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidRequest(f"the message is not a {kind.DESCRIPTOR.name}: {error}") from None


def request(message: pb.ModelInferRequest) -> InferenceRequest:
    """The request without the data of its inputs. Raises InvalidRequest if it is wrong."""
    return messages.validate(
        {
            "id": message.id,
            "parameters": _parameters(message.parameters),
            "inputs": [
                {
                    "name": each.name,
                    "datatype": each.datatype,
                    "shape": list(each.shape),
                    "parameters": _parameters(each.parameters),
                }
                for each in message.inputs
            ],
            "outputs": [
                {"name": each.name, "parameters": _parameters(each.parameters)}
                for each in message.outputs
            ],
        }
    )


def is_raw(message: pb.ModelInferRequest) -> bool:
    """Whether the data of the inputs is in `raw_input_contents`; the outputs go the same way."""
    return bool(message.raw_input_contents)


def received(message: pb.ModelInferRequest, asked: InferenceRequest) -> Received:
    """The only input of a checked request, with its data."""
    (given,), (tensor,) = message.inputs, asked.inputs
    if is_raw(message):
        if len(message.raw_input_contents) != 1:
            count = len(message.raw_input_contents)
            raise InvalidRequest(f"{count} raw_input_contents for one input")
        if given.HasField("contents"):
            raise InvalidRequest(f"{tensor.name}: has contents and raw_input_contents")
        return Received(tensor, memoryview(message.raw_input_contents[0]))
    field = "bytes_contents" if tensor.name == FILES else "uint_contents"
    contents = getattr(given.contents, field)
    if not contents and all(tensor.shape):
        raise InvalidRequest(f"{tensor.name}: has neither {field} nor raw_input_contents")
    if tensor.name == FILES:
        return Received(tensor, None, list(contents))
    return Received(tensor, memoryview(_bytes(tensor.name, contents)))


def respond(detector: Detector, asked: InferenceRequest, outputs: Arrays, *, raw: bool) -> bytes:
    """A ModelInferResponse: the requested outputs in order. Slow: run it in a thread."""
    (given,) = asked.inputs
    model = detector.session.model
    answer = pb.ModelInferResponse(
        model_name=model.name, model_version=model.version, id=asked.id or ""
    )
    for name in inference.requested(asked):
        datatype = inference.OUTPUTS[given.name][name]
        values = np.ascontiguousarray(outputs[name], tensors.DATATYPES[datatype])
        sent = answer.outputs.add(name=name, datatype=datatype, shape=values.shape)
        if raw:
            answer.raw_output_contents.append(values.tobytes())
        elif datatype == "FP32":
            sent.contents.fp32_contents.extend(values.ravel().tolist())
        else:
            sent.contents.int_contents.extend(values.ravel().tolist())
    return answer.SerializeToString()


def model_metadata(detector: Detector) -> pb.ModelMetadataResponse:
    """A model's inputs and outputs."""
    described = inference.metadata(detector)
    return pb.ModelMetadataResponse(
        name=described.name,
        versions=described.versions,
        platform=described.platform,
        inputs=_tensors(described.inputs),
        outputs=_tensors(described.outputs),
    )


def _tensors(listed: Iterable[TensorMetadata]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(
            name=each.name, datatype=each.datatype, shape=each.shape
        )
        for each in listed
    ]


def _parameters(given: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    """Parameters with their values; None for one without a value."""
    return {
        name: getattr(value, choice) if (choice := value.WhichOneof("parameter_choice")) else None
        for name, value in given.items()
    }


def _bytes(name: str, contents: Any) -> bytes:
    """UINT8 values, which protobuf holds as numbers of 32 bits."""
    if len(contents) > MOST_VALUES:
        raise PayloadTooLarge("too many values; send the tensor as raw_input_contents")
    values = np.fromiter(contents, np.uint32, len(contents))
    if values.size and values.max() > 255:
        raise InvalidRequest(f"{name}: data must be whole numbers from 0 to 255")
    return values.astype(np.uint8).tobytes()
