"""Find the faces of photographs with Triton's client: python triton_client.py one.jpg two.jpg."""

import os
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

URL = os.environ.get("SFD_URL", "http://127.0.0.1:8000")
MODEL = "sfd-640-mobilenetv2-mod2"
names = sys.argv[1:]

# Image files go in as they are, in one request: the service decodes and resizes them.
files = np.array([Path(name).read_bytes() for name in names], dtype=np.object_)
images = triton.InferInput("image", [len(files)], "BYTES")
images.set_data_from_numpy(files)

with triton.InferenceServerClient(URL.removeprefix("http://")) as client:
    try:
        answer = client.infer(MODEL, [images], parameters={"min_score": 0.8})
    except InferenceServerException as error:
        sys.exit(f"{error.status()}: {error.message()}")
    except OSError as error:
        sys.exit(f"{URL}: {error}")

# One row for each face: number of the image, corners in pixels, score.
for image, x1, y1, x2, y2, score in answer.as_numpy("detections"):
    print(f"{names[int(image)]}: {x1:.0f},{y1:.0f} {x2 - x1:.0f}x{y2 - y1:.0f} {score:.2f}")
