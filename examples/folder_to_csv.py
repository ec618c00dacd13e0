"""Write the faces of a folder of photographs to a CSV file: python folder_to_csv.py DIR OUT.csv.

Eight requests run at a time, so that the service can join them into batches. A file that is not an
image is reported on stderr. The other files are still processed, and the exit code is 1.
"""

import csv
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

URL = os.environ.get("SFD_URL", "http://127.0.0.1:8000")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
folder, output = Path(sys.argv[1]), Path(sys.argv[2])


def detect(photo: Path) -> dict[str, Any]:
    """The service's answer for one file: faces, or an error."""
    answer: dict[str, Any] = client.post("/detect", content=photo.read_bytes()).json()
    return answer


photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
failed = 0
with (
    httpx.Client(base_url=URL, timeout=60) as client,
    ThreadPoolExecutor(8) as pool,
    output.open("w", newline="", encoding="utf-8") as file,
):
    table = csv.writer(file)
    table.writerow(["file", "x", "y", "width", "height", "score"])
    for photo, answer in zip(photos, pool.map(detect, photos), strict=True):
        name = photo.relative_to(folder)
        if "faces" not in answer:
            print(f"{name}: {answer['detail']}", file=sys.stderr)
            failed += 1
            continue
        for face in answer["faces"]:
            box = face["box"]
            table.writerow([name, box["x"], box["y"], box["width"], box["height"], face["score"]])

print(f"{len(photos) - failed} photographs, {failed} failed")
sys.exit(1 if failed else 0)
