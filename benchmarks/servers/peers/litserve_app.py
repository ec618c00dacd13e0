"""LitServe, as its documentation advises for a CPU: one worker for each core.

https://lightning.ai/docs/litserve/features/multiple-workers
"""

from typing import Annotated, Any

import litserve
from fastapi import Body

from benchmarks.servers.peers import setup as setups
from benchmarks.servers.peers.work import Answer, Detector


class Api(litserve.LitAPI):
    """Finds the faces of the file in the request's body."""

    def setup(self, device: str) -> None:
        """Load the network, once in each worker."""
        self.detector = Detector(setups.read())

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """The body is the file."""
        return request

    def predict(self, x: bytes) -> Answer:
        """Decode, infer and select."""
        return self.detector.detect(x)

    def encode_response(self, output: Answer) -> Any:
        """LitServe writes the JSON."""
        return output


if __name__ == "__main__":
    setup = setups.read()
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=setup.workers)
    server.run(host="127.0.0.1", port=setup.port, generate_client_file=False)
