"""`sfd detect`: the faces of image files, by the same code as the service, without a server."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from PIL import Image

from service import problems, rendering, runtime, settings
from service.detector import Detection, Detector, Query
from service.errors import Problem
from service.network import PROVIDERS
from service.rendering import Style
from service.schemas import ImageResult
from sfd.arguments import fraction, positive
from sfd.errors import SfdError, UsageError

DESCRIPTION = """\
Find the faces of image files. Prints a line for each face: file, x, y, width and height of its
box in pixels of the upright image, and its score. A file that fails is reported on stderr, the
others are done all the same, and the exit code is 1.
"""

# Enough to keep a batch full while the next ones are decoded.
FILES_AT_ONCE = 16
# No server's deadline applies to a file on a slow disk.
NEVER = float("inf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
    parser.add_argument(
        "--draw",
        type=Path,
        metavar="OUT",
        help="write the picture with its boxes: a file for one image (PNG, JPEG or WebP by its "
        "ending), a folder for several",
    )
    parser.add_argument(
        "--style",
        choices=get_args(Style),
        default="boxes",
        help="what --draw does to the faces (default: boxes)",
    )
    parser.add_argument(
        "--tiles",
        choices=("off", "auto"),
        default="off",
        help="auto: look at tiles of large images too, for small faces (default: off)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a file")
    parser.add_argument(
        "--model", metavar="NAME", help="model of the store (default: $SFD_DEFAULT_MODEL)"
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="where to look for the model (default: as `sfd models` does)",
    )
    parser.add_argument(
        "--provider",
        type=str.lower,
        choices=("auto", *PROVIDERS),
        metavar="NAME",
        help="auto, cpu, cuda, tensorrt or openvino",
    )
    parser.add_argument("--min-score", type=fraction, metavar="S", help="least score, 0-1")
    parser.add_argument("--nms-iou", type=fraction, metavar="IOU", help="greatest overlap, 0-1")
    parser.add_argument("--max-faces", type=positive, metavar="N", help="most faces of an image")


def run(arguments: argparse.Namespace) -> None:
    """Detect on every file; SfdError counts those that failed."""
    files: list[Path] = arguments.images
    several = len(files) > 1
    draw: Path | None = arguments.draw
    if draw is not None and several:
        if draw.exists() and not draw.is_dir():
            raise UsageError(f"--draw {draw}: is a file; several images need a folder")
        if len({file.stem for file in files}) < len(files):
            raise UsageError("--draw: two images have the same name; draw them one by one")
    elif draw is not None and not _can_write(draw.suffix.lower()):
        raise UsageError(f"--draw {draw}: end it in .png, .jpg or .webp")
    failed = asyncio.run(detect_files(files, arguments))
    if failed:
        raise SfdError(
            f"{failed} of {len(files)} images failed" if several else "no faces: the image failed"
        )


def _can_write(suffix: str) -> bool:
    """Whether Pillow writes files of this ending; some formats it only reads."""
    return Image.registered_extensions().get(suffix) in Image.SAVE


async def detect_files(files: Sequence[Path], arguments: argparse.Namespace) -> int:
    """Detect on files and print as it goes, in their order; returns how many failed."""
    loaded = runtime.load(
        settings.load(
            models=() if arguments.model else None,
            default_model=arguments.model,
            model_store=arguments.store,
            provider=arguments.provider,
        )
    )
    query = Query(
        arguments.min_score, arguments.nms_iou, arguments.max_faces, arguments.tiles == "auto"
    )
    detector = loaded.default
    failed = 0
    at_once = detector.group(FILES_AT_ONCE, query)
    for start in range(0, len(files), at_once):
        group = files[start : start + at_once]
        contents = [read(file) for file in group]
        found = await detector.detect_all(contents, query, NEVER)
        for file, content, one in zip(group, contents, found, strict=True):
            problem = one if isinstance(one, Problem) else None
            if problem is None and arguments.draw is not None:
                assert isinstance(one, Detection)
                assert isinstance(content, bytes)
                out = arguments.draw / f"{file.stem}.png" if len(files) > 1 else arguments.draw
                problem = write_drawing(content, one, detector, out, arguments.style)
            show(file, one, as_json=arguments.json)
            if problem is not None:
                failed += 1
                print(f"sfd detect: {file}: {problem}", file=sys.stderr)
    await loaded.close()
    return failed


class UnreadableFile(Problem):
    """A file that cannot be read, or written."""

    status = 400
    slug = "unreadable-file"
    title = "Unreadable file"


def read(file: Path) -> bytes | Problem:
    """The bytes of a file, or why not."""
    try:
        return file.read_bytes()
    except OSError as error:
        return UnreadableFile(f"cannot be read: {error.strerror or error}")


def write_drawing(
    content: bytes, found: Detection, detector: Detector, out: Path, style: Style
) -> Problem | None:
    """Draw or hide the faces and write the picture, or say why not."""
    picture = rendering.draw(
        content,
        found.boxes,
        found.scores,
        style,
        max_pixels=detector.max_pixels,
        background=detector.network.model.input.mean_rgb,
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        picture.save(out)
    except (OSError, ValueError) as error:
        return UnreadableFile(f"{out}: cannot be written: {error}")
    return None


def show(file: Path, found: Detection | Problem, *, as_json: bool) -> None:
    """Print one file's answer on stdout."""
    if as_json:
        line: dict[str, Any] = {"file": str(file)}
        if isinstance(found, Problem):
            problem = problems.body(found, "")
            del problem["request_id"]
            line["error"] = problem
        else:
            line |= ImageResult.of(found).model_dump()
        print(json.dumps(line), flush=True)
    elif isinstance(found, Detection):
        for face in ImageResult.of(found).faces:
            box = face.box
            print(f"{file}\t{box.x}\t{box.y}\t{box.width}\t{box.height}\t{face.score}", flush=True)
