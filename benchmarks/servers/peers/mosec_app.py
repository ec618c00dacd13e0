"""mosec, as its documentation advises for a CPU: one worker process for each core.

https://mosecorg.github.io/mosec/reference/interface.html
"""

from mosec import Server, Worker

from benchmarks.servers.peers import setup as setups
from benchmarks.servers.peers.work import Answer, Detector


class Faces(Worker):
    """Finds the faces of the file in the request's body."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = Detector(setups.read())

    def deserialize(self, data: bytes) -> bytes:
        """The body is the file."""
        return data

    def forward(self, data: bytes) -> Answer:
        """Decode, infer and select; mosec writes the JSON."""
        return self.detector.detect(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Faces, num=setups.read().workers)
    server.run()
