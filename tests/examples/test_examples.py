"""Every example finds the face of the sample photograph, run as its README says."""

import csv
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PHOTO = ROOT / "service" / "static" / "sample.jpg"
FACE = (181, 66, 89, 113)
"""x, y, width and height of the one face of PHOTO, in pixels."""


def run(*command: object, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def printed_face(line: str) -> tuple[list[int], float]:
    """The box and the score of a line such as `180,62 92x115 0.99`."""
    found = re.search(r"(-?\d+),(-?\d+) (\d+)x(\d+) (\d\.\d+)$", line)
    assert found, line
    return [int(number) for number in found.groups()[:4]], float(found[5])


def assert_finds_the_face(done: "subprocess.CompletedProcess[str]") -> None:
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    box, score = printed_face(line)
    assert box == pytest.approx(FACE, abs=1)
    assert score > 0.98


def test_the_readme_lists_every_example() -> None:
    listed = re.findall(
        r"^\| \[([\w.]+)\]\(\1\)", (EXAMPLES / "README.md").read_text("utf-8"), re.M
    )
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert sorted(listed) == sorted(files - {"README.md"})


def test_curl(service: str, tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    if not shutil.which("curl"):
        missing("curl is not installed")
    done = run("sh", EXAMPLES / "curl.sh", PHOTO, folder=tmp_path, SFD_URL=service)
    assert done.returncode == 0, done.stderr
    one, sure, several = done.stdout.splitlines()
    assert one.count('"box"') == sure.count('"box"') == 1
    assert several.count('"box"') == 2
    with Image.open(tmp_path / "blurred.jpg") as blurred, Image.open(PHOTO) as photo:
        assert blurred.format == "JPEG"
        assert blurred.size == photo.size


def test_curl_sends_a_photograph_whatever_its_name(
    service: str, tmp_path: Path, missing: Callable[[str], NoReturn]
) -> None:
    if not shutil.which("curl"):
        missing("curl is not installed")
    shutil.copy(PHOTO, tmp_path / "a,b;type=c d.jpg")
    done = run("sh", EXAMPLES / "curl.sh", "a,b;type=c d.jpg", folder=tmp_path, SFD_URL=service)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"box"') == 4


@pytest.mark.parametrize(
    ("program", "file"),
    [
        ("sh", "curl.sh"),
        ("node", "javascript.mjs"),
        (sys.executable, "python_httpx.py"),
        (sys.executable, "triton_client.py"),
        (sys.executable, "triton_grpc_client.py"),
    ],
)
def test_an_unreachable_service_is_one_line(
    program: str, file: str, tmp_path: Path, missing: Callable[[str], NoReturn]
) -> None:
    if not shutil.which(program) or not shutil.which("curl"):
        missing(f"{program} or curl is not installed")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{unused.getsockname()[1]}"
    done = run(program, EXAMPLES / file, PHOTO, folder=tmp_path,
               SFD_URL=f"http://{nowhere}", SFD_GRPC=nowhere)  # fmt: skip
    assert done.returncode != 0
    assert done.stdout.strip() == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "connect" in done.stderr.lower()


def test_curl_ends_with_the_error_of_the_service(
    service: str, tmp_path: Path, missing: Callable[[str], NoReturn]
) -> None:
    if not shutil.which("curl"):
        missing("curl is not installed")
    (tmp_path / "text.jpg").write_text("no image")
    done = run("sh", EXAMPLES / "curl.sh", "text.jpg", folder=tmp_path, SFD_URL=service)
    assert done.returncode == 22
    assert '"status":415' in done.stdout


def test_python_with_httpx(service: str, tmp_path: Path) -> None:
    command = sys.executable, EXAMPLES / "python_httpx.py"
    assert_finds_the_face(run(*command, PHOTO, folder=tmp_path, SFD_URL=service))
    (tmp_path / "text.jpg").write_text("no image")
    failed = run(*command, "text.jpg", folder=tmp_path, SFD_URL=service)
    assert failed.returncode == 1
    assert failed.stderr.startswith("415 ")
    assert failed.stderr.count("\n") == 1


def test_triton_client(service: str, tmp_path: Path) -> None:
    command = sys.executable, EXAMPLES / "triton_client.py"
    done = run(*command, PHOTO, PHOTO, folder=tmp_path, SFD_URL=service)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"{PHOTO}: ")
        assert printed_face(line)[0] == pytest.approx(FACE, abs=1)
    (tmp_path / "text.jpg").write_text("no image")
    failed = run(*command, "text.jpg", folder=tmp_path, SFD_URL=service)
    assert failed.returncode == 1
    assert "this is text" in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_triton_grpc_client(grpc_service: str, tmp_path: Path) -> None:
    command = sys.executable, EXAMPLES / "triton_grpc_client.py"
    assert_finds_the_face(run(*command, PHOTO, folder=tmp_path, SFD_GRPC=grpc_service))
    (tmp_path / "text.jpg").write_text("no image")
    failed = run(*command, "text.jpg", folder=tmp_path, SFD_GRPC=grpc_service)
    assert failed.returncode == 1
    assert failed.stderr.startswith("StatusCode.INVALID_ARGUMENT: ")
    assert failed.stderr.count("\n") == 1


def test_javascript(service: str, tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    node = shutil.which("node")
    if not node:
        missing("Node is not installed (Debian: apt-get install nodejs)")
    command = node, EXAMPLES / "javascript.mjs"
    assert_finds_the_face(run(*command, PHOTO, folder=tmp_path, SFD_URL=service))
    (tmp_path / "text.jpg").write_text("no image")
    failed = run(*command, "text.jpg", folder=tmp_path, SFD_URL=service)
    assert failed.returncode == 1
    assert failed.stderr.startswith("415 ")


def test_folder_to_csv(service: str, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    shutil.copy(PHOTO, photos / "a.jpg")
    shutil.copy(PHOTO, photos / "more" / "b.JPG")
    Image.new("RGB", (64, 48), "gray").save(photos / "nobody.png")
    (photos / "notes.txt").write_text("no image, and not asked about")
    command = sys.executable, EXAMPLES / "folder_to_csv.py", photos, "faces.csv"
    done = run(*command, folder=tmp_path, SFD_URL=service)
    assert (done.returncode, done.stdout) == (0, "3 photographs, 0 failed\n"), done.stderr
    with (tmp_path / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["a.jpg", "more/b.JPG"]
    for row in rows:
        box = [float(row[name]) for name in ("x", "y", "width", "height")]
        assert box == pytest.approx(FACE, abs=1)
        assert 0.98 < float(row["score"]) <= 1

    (photos / "broken.jpg").write_text("no image")
    done = run(*command, folder=tmp_path, SFD_URL=service)
    assert (done.returncode, done.stdout) == (1, "3 photographs, 1 failed\n")
    assert done.stderr.startswith("broken.jpg: ")


def test_folder_to_csv_goes_on_after_a_bad_name_and_an_unreadable_file(
    service: str, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    (photos / "a.jpg").mkdir(parents=True)
    os.symlink("itself.jpg", photos / "itself.jpg")
    shutil.copy(PHOTO, photos / "b\udcff.jpg")  # on the disk, the byte FF
    shutil.copy(PHOTO, photos / "c.jpg")
    command = sys.executable, EXAMPLES / "folder_to_csv.py"
    done = run(*command, photos, "faces.csv", folder=tmp_path, SFD_URL=service)
    assert (done.returncode, done.stdout) == (0, "2 photographs, 0 failed\n"), done.stderr
    lines = (tmp_path / "faces.csv").read_bytes().splitlines()
    assert [line.split(b",")[0] for line in lines] == [b"file", b"b\xff.jpg", b"c.jpg"]

    done = run(*command, photos, "faces.csv", folder=tmp_path, SFD_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "0 photographs, 2 failed\n")
    assert "c.jpg: ConnectError: " in done.stderr

    done = run(*command, "nowhere", "other.csv", folder=tmp_path, SFD_URL=service)
    assert (done.returncode, done.stderr) == (1, "nowhere: not a folder\n")
    assert not (tmp_path / "other.csv").exists()


def test_folder_to_csv_asks_again_when_the_service_is_busy(tmp_path: Path) -> None:
    answers = [
        (503, {"Retry-After": "0"}, '{"detail": "the queue is full"}'),
        (502, {}, "<html>"),
        (200, {}, '{"faces": []}'),
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = answers.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    shutil.copy(PHOTO, tmp_path / "a.jpg")
    command = sys.executable, EXAMPLES / "folder_to_csv.py", ".", "faces.csv"
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        proxy = run(*command, folder=tmp_path, SFD_URL=url)
        good = run(*command, folder=tmp_path, SFD_URL=url)
        server.shutdown()
    assert (proxy.returncode, proxy.stderr) == (1, "a.jpg: 502 Bad Gateway\n")
    assert (good.returncode, good.stdout) == (0, "1 photographs, 0 failed\n")


def test_onnx_runtime(built_model: Path, tmp_path: Path) -> None:
    command = sys.executable, EXAMPLES / "onnx_runtime.py"
    assert_finds_the_face(run(*command, built_model, PHOTO, folder=tmp_path))


def test_onnx_runtime_finds_the_faces_of_a_wide_photograph_where_they_are(
    built_model: Path, tmp_path: Path
) -> None:
    with Image.open(PHOTO) as photo:
        wide = Image.new("RGB", (2 * photo.width, photo.height), "gray")
        wide.paste(photo, (0, 0))
        wide.paste(photo, (photo.width, 0))
    wide.save(tmp_path / "wide.png")
    command = sys.executable, EXAMPLES / "onnx_runtime.py", built_model, "wide.png"
    done = run(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    x, y, width, height = FACE
    boxes = sorted(printed_face(line)[0] for line in done.stdout.splitlines())
    assert len(boxes) == 2
    for box, left in zip(boxes, (x, x + wide.width // 2), strict=True):
        assert box == pytest.approx((left, y, width, height), abs=4)


def test_opencv_4(built_model: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV 4 is not installed (extra verify)")
    assert cv2.__version__.startswith("4.")
    command = sys.executable, EXAMPLES / "opencv.py"
    assert_finds_the_face(run(*command, built_model, PHOTO, folder=tmp_path))


def test_opencv_5(built_model: Path, opencv5: Path, tmp_path: Path) -> None:
    found = run(sys.executable, "-c", "import cv2; print(cv2.__version__)",
                folder=tmp_path, PYTHONPATH=str(opencv5))  # fmt: skip
    assert found.stdout.startswith("5."), found.stderr
    command = sys.executable, EXAMPLES / "opencv.py"
    done = run(*command, built_model, PHOTO, folder=tmp_path, PYTHONPATH=str(opencv5))
    assert_finds_the_face(done)
