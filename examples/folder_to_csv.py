"""Write the faces of a folder of photographs to a CSV file: python folder_to_csv.py DIR OUT.csv.

Eight requests run at a time, so that the service can join them into batches. When the service is
busy (503), the request is sent again. A file without an answer is reported on stderr; the other
files are still processed, and the exit code is 1.
"""

import csv
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

URL = os.environ.get("SFD_URL", "http://127.0.0.1:8000")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
MORE_TRIES = 9
folder, output = Path(sys.argv[1]), Path(sys.argv[2])


def detect(photo: Path) -> dict[str, Any]:
    """The service's answer for one file: faces, or an error with its `detail`."""
    try:
        answer = client.post("/detect", content=photo.read_bytes())
        for _ in range(MORE_TRIES):
            if answer.status_code != 503:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
            answer = client.post("/detect", content=photo.read_bytes())
        result: Any = answer.json()
    except ValueError:
        result = None
    except (OSError, httpx.HTTPError) as error:
        return {"detail": f"{type(error).__name__}: {error}"}
    if isinstance(result, dict):
        return result
    return {"detail": f"{answer.status_code} {answer.reason_phrase}"}  # a proxy's own error


if not folder.is_dir():
    sys.exit(f"{folder}: not a folder")
photos = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
photos.sort()
failed = 0
with (
    httpx.Client(base_url=URL, timeout=60) as client,
    ThreadPoolExecutor(8) as pool,
    output.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
):
    table = csv.writer(file)
    table.writerow(["file", "x", "y", "width", "height", "score"])
    for photo, answer in zip(photos, pool.map(detect, photos), strict=True):
        name = photo.relative_to(folder)
        if "faces" not in answer:
            print(f"{name}: {answer.get('detail', answer)}", file=sys.stderr)
            failed += 1
            continue
        for face in answer["faces"]:
            box = face["box"]
            table.writerow([name, box["x"], box["y"], box["width"], box["height"], face["score"]])

print(f"{len(photos) - failed} photographs, {failed} failed")
sys.exit(1 if failed else 0)
