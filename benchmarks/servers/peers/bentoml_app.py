"""BentoML, as its documentation advises for a CPU: one worker for each core.

https://docs.bentoml.com/en/latest/build-with-bentoml/parallelize-requests.html
"""

from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from benchmarks.servers.peers import setup as setups
from benchmarks.servers.peers.work import Detector


@bentoml.service(workers=setups.read().workers)
class Faces:
    """Finds the faces of the file in the request's body."""

    def __init__(self) -> None:
        self.detector = Detector(setups.read())

    # BentoML passes the only positional parameter the whole body, as a file.
    @bentoml.api(route="/detect")
    def detect(self, data: Annotated[Path, ContentType("application/octet-stream")], /) -> Any:
        """Decode, infer and select; BentoML writes the JSON."""
        return self.detector.detect(data.read_bytes())
