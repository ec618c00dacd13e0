"""BentoML, with one worker that has a thread for each core.

Its documentation advises one worker for each core, see
https://docs.bentoml.com/en/latest/build-with-bentoml/parallelize-requests.html. But those share a
socket, and with connections that are kept alive one of them often got all requests. onnxruntime's
session may be used by several threads, and does not hold Python's lock.
"""

from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from benchmarks.servers.peers import setup as setups
from benchmarks.servers.peers.work import Detector


@bentoml.service(workers=1, threads=setups.read().workers)
class Faces:
    """Finds the faces of the file in the request's body."""

    def __init__(self) -> None:
        self.detector = Detector(setups.read())

    # BentoML passes the only positional parameter the whole body, as a file.
    @bentoml.api(route="/detect")
    def detect(self, data: Annotated[Path, ContentType("application/octet-stream")], /) -> Any:
        """Decode, infer and select; BentoML writes the JSON."""
        return self.detector.detect(data.read_bytes())
