"""Ray Serve, as its documentation advises for a CPU: one replica with one CPU for each core.

https://docs.ray.io/en/latest/serve/resource-allocation.html
"""

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.servers.peers import setup as setups
from benchmarks.servers.peers.work import Answer, Detector


class Faces:
    """Finds the faces of the file in the request's body."""

    def __init__(self, setup: setups.Setup) -> None:
        self.detector = Detector(setup)

    async def __call__(self, request: Request) -> Answer:
        """Decode, infer and select; Ray writes the JSON."""
        return self.detector.detect(await request.body())


def main() -> None:
    """Start a cluster of this machine alone, and serve until the process is stopped."""
    setup = setups.read()
    ray.init(num_cpus=setup.workers, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": setup.port})
    deployment = serve.deployment(num_replicas=setup.workers, ray_actor_options={"num_cpus": 1})(
        Faces
    )
    serve.run(deployment.bind(setup), blocking=True)


if __name__ == "__main__":
    main()
