"""Find the faces of a photograph: python python_httpx.py photo.jpg."""

import os
import sys
from pathlib import Path

import httpx

URL = os.environ.get("SFD_URL", "http://127.0.0.1:8000")
photo = Path(sys.argv[1])

try:
    answer = httpx.post(
        f"{URL}/detect", content=photo.read_bytes(), params={"min_score": 0.8}, timeout=60
    )
except httpx.HTTPError as error:
    sys.exit(f"{URL}: {error}")
if answer.is_error:  # every error of the service is a JSON object of this form (RFC 9457)
    if "problem+json" not in answer.headers.get("Content-Type", ""):  # a proxy's own error
        sys.exit(f"{answer.status_code} {answer.reason_phrase}")
    problem = answer.json()
    sys.exit(f"{problem['status']} {problem['title']}: {problem['detail']}")

for face in answer.json()["faces"]:
    box = face["box"]
    print(
        f"{box['x']:.0f},{box['y']:.0f} {box['width']:.0f}x{box['height']:.0f} {face['score']:.2f}"
    )
