"""The calls of the protocol, as the HTTP and the gRPC side share them."""

import asyncio
from dataclasses import dataclass
from typing import Self

from detection.detector import Detector
from service.errors import UnknownModel
from service.openinference import inference, messages
from service.openinference.inference import Inferred
from service.openinference.messages import (
    InferenceParameters,
    InferenceRequest,
    ServerMetadata,
)
from service.openinference.tensors import Received
from service.runtime import Runtime
from sfd.distribution import VERSION

EXTENSIONS = ["binary_tensor_data", "parameters"]


def server() -> ServerMetadata:
    """Name, version, and the extensions of the protocol."""
    return ServerMetadata(name="sfd", version=VERSION, extensions=EXTENSIONS)


def find(runtime: Runtime, name: str, version: str | None = None) -> Detector:
    """The detector of a model. Raises UnknownModel for a name or version that is not served."""
    detector = runtime.detector(name)
    only = detector.session.model.version
    if version not in (None, only):
        raise UnknownModel(f"{name} has no version {version[:100]!r}, only {only}")
    return detector


@dataclass(frozen=True, slots=True)
class Inference:
    """A ModelInfer that was checked, with its deadline."""

    detector: Detector
    request: InferenceRequest
    parameters: InferenceParameters
    deadline: float
    """A time of the event loop's clock."""

    @classmethod
    def of(cls, detector: Detector, request: InferenceRequest, deadline: float) -> Self:
        """Check a request against its model. Raises InvalidRequest.

        The parameter `timeout` can only shorten `deadline`.
        """
        parameters = messages.parse_parameters(request.parameters)
        inference.check(request, inference.metadata(detector))
        if parameters.timeout:
            now = asyncio.get_running_loop().time()
            deadline = min(deadline, now + parameters.timeout / 1e6)
        return cls(detector, request, parameters, deadline)

    async def run(self, received: Received, max_images: int) -> Inferred:
        """The outputs of the input; raises what `inference.infer` does."""
        query = self.parameters.query()
        return await inference.infer(self.detector, received, query, self.deadline, max_images)

    def log_fields(self, inferred: Inferred) -> dict[str, object]:
        """Which model answered, and how much it found, for the request's log line."""
        (given,) = self.request.inputs
        return {
            "model": self.detector.session.model.name,
            "images": given.shape[0],
            "faces": sum(len(one.scores) for one in inferred.detections),
        }
