"""FastAPI with OpenCV 4 on the caffemodel: the server that one writes without a converter.

Uvicorn runs one process for each core, as FastAPI's documentation advises:
https://fastapi.tiangolo.com/deployment/server-workers/
"""

import threading

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from benchmarks.servers.peers import setup as setups
from benchmarks.servers.peers.work import Answer, answer, prepare


class Detector:
    """One network of OpenCV with one thread; its calls wait for each other."""

    def __init__(self, setup: setups.Setup) -> None:
        cv2.setNumThreads(1)
        self.setup = setup
        self.net = cv2.dnn.readNetFromCaffe(setup.deploy, setup.weights)
        self.lock = threading.Lock()

    def detect(self, data: bytes) -> Answer:
        """The faces of an image file."""
        pixels, placement = prepare(data, self.setup)
        blob = cv2.dnn.blobFromImage(
            pixels, scalefactor=self.setup.scale, mean=self.setup.mean, swapRB=self.setup.swap
        )
        with self.lock:
            self.net.setInput(blob)
            # DetectionOutput, after its NMS: image, class, score, x1, y1, x2, y2.
            found = np.asarray(self.net.forward(), np.float32).reshape(-1, 7)
        kept = found[found[:, 2] > np.float32(self.setup.score)]
        return answer(kept[:, 3:], kept[:, 2], placement)


def create_app() -> FastAPI:
    """The app of one process."""
    app = FastAPI()
    detector = Detector(setups.read())

    @app.post("/detect")
    async def detect(request: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(detector.detect, await request.body()))

    return app


if __name__ == "__main__":
    setup = setups.read()
    uvicorn.run(
        f"{__spec__.name}:create_app",
        factory=True,
        host="127.0.0.1",
        port=setup.port,
        workers=setup.workers,
        log_level="warning",
    )
