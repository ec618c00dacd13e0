"""FastAPI with OpenCV 4 on the caffemodel: the server that one writes without a converter.

One process has a network for each core, and FastAPI's threads share them. FastAPI's documentation
advises one process for each core (https://fastapi.tiangolo.com/deployment/server-workers/). But
those share a socket, and with connections that are kept alive one of them often got all requests.
OpenCV does not hold Python's lock while it infers.
"""

from queue import SimpleQueue

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from benchmarks.servers.peers import setup as setups
from benchmarks.servers.peers.work import Answer, answer, prepare


class Detector:
    """Networks of OpenCV with one thread each. A call takes one, or waits for one."""

    def __init__(self, setup: setups.Setup) -> None:
        cv2.setNumThreads(1)
        self.setup = setup
        self.idle: SimpleQueue[cv2.dnn.Net] = SimpleQueue()
        for _ in range(setup.workers):
            self.idle.put(cv2.dnn.readNetFromCaffe(setup.deploy, setup.weights))

    def detect(self, data: bytes) -> Answer:
        """The faces of an image file."""
        pixels, placement = prepare(data, self.setup)
        blob = cv2.dnn.blobFromImage(
            pixels, scalefactor=self.setup.scale, mean=self.setup.mean, swapRB=self.setup.swap
        )
        network = self.idle.get()
        try:
            network.setInput(blob)
            # DetectionOutput, after its NMS: image, class, score, x1, y1, x2, y2.
            found = np.asarray(network.forward(), np.float32).reshape(-1, 7)
        finally:
            self.idle.put(network)
        kept = found[found[:, 2] > np.float32(self.setup.score)]
        return answer(kept[:, 3:], kept[:, 2], placement)


def create_app(setup: setups.Setup) -> FastAPI:
    """The app."""
    app = FastAPI()
    detector = Detector(setup)

    @app.post("/detect")
    async def detect(request: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(detector.detect, await request.body()))

    return app


if __name__ == "__main__":
    setup = setups.read()
    uvicorn.run(create_app(setup), host="127.0.0.1", port=setup.port, log_level="warning")
