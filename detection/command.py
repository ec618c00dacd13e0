"""`sfd detect`: finds the faces in image files with the service's code, without a server."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, get_args

from PIL import Image
from tqdm import tqdm

from detection import settings, sources
from detection.bulk import arguments as bulk
from detection.bulk.settings import BulkSettings
from detection.deadline import NEVER
from detection.detector import Detection, Detector, Query
from detection.errors import RequestError
from detection.opening import find_model, open_detector
from detection.providers import ProviderName
from detection.rendering import Style, UnwritableFile
from detection.retries import detect_group
from detection.settings import Kind
from detection.sources import Source
from sfd.arguments import fraction, nonnegative, positive
from sfd.errors import SfdError, UsageError
from sfd.files import WriteError, write_atomically
from sfd.terminal import printable, say

DESCRIPTION = """\
Find the faces in image files. Prints a line for each face: file, x, y, width and height of its
box in pixels of the upright image, and its score. Files without faces and files that fail are
reported on stderr. If a file fails, the others are still done, and the exit code is 1.
With --bulk, writes the faces of any number of pictures to Parquet files instead.
"""

# Enough files to keep a batch full while the next ones are decoded.
FILES_AT_ONCE = 16
DRAWN = ("PNG", "JPEG", "WEBP")
"""The formats of drawings, by Pillow's names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="image files, folders (all images below them), patterns such as '2026/*.jpg', or - "
        "for standard input",
    )
    parser.add_argument(
        "--draw",
        type=_drawing,
        metavar="OUT",
        help="write the picture with its boxes: a file for one image (PNG, JPEG or WebP by its "
        "ending), or a folder",
    )
    parser.add_argument("--force", action="store_true", help="let --draw overwrite existing files")
    parser.add_argument(
        "--style",
        choices=get_args(Style),
        help="what --draw does to the faces (default: boxes)",
    )
    parser.add_argument(
        "--tiles",
        choices=("off", "auto"),
        default="off",
        help="auto: also search tiles of large images, for small faces (default: off)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each file")
    parser.add_argument(
        "--model", metavar="NAME", help="model of the store (default: $SFD_DEFAULT_MODEL)"
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="the model store (default: as for `sfd models`)",
    )
    parser.add_argument(
        "--provider",
        type=str.lower,
        choices=[each.value for each in ProviderName],
        metavar="NAME",
        help=f"one of {', '.join(ProviderName)}",
    )
    parser.add_argument("--min-score", type=fraction, metavar="S", help="minimum score, 0-1")
    parser.add_argument(
        "--nms-iou", type=fraction, metavar="IOU", help="maximum overlap (IoU) of two faces, 0-1"
    )
    parser.add_argument(
        "--min-size",
        type=nonnegative,
        default=0.0,
        metavar="PIXELS",
        help="minimum width and height of a face in pixels (default: 0)",
    )
    parser.add_argument(
        "--max-faces", type=positive, metavar="N", help="maximum number of faces in an image"
    )
    bulk.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Detect faces in every file. Raises SfdError with the number of files that failed."""
    bulk.check(arguments)
    if arguments.bulk is not None:
        run_bulk(arguments)
        return
    if isinstance(sys.stdout, TextIOWrapper):
        # A file name can hold bytes that are not UTF-8; print them unchanged.
        sys.stdout.reconfigure(errors="surrogateescape")
    if arguments.style is not None and arguments.draw is None:
        raise UsageError("--style says how to draw: add --draw OUT")
    files = sources.find(arguments.images)
    drawings: Sequence[Path | None] = [None] * len(files)
    if arguments.draw is not None:
        drawings = sources.targets(files, arguments.draw, force=arguments.force)
        for drawing in drawings:
            if not _can_write(drawing.suffix.lower()):
                raise UsageError(f"--draw {drawing}: end it in .png, .jpg or .webp")
    failed = asyncio.run(detect_files(files, drawings, arguments))
    if failed:
        raise SfdError(f"{failed} of {len(files)} images failed")


def _drawing(text: str) -> Path:
    """The path of a drawing, or of a folder of drawings."""
    path = Path(text)
    if text.endswith("/") and _can_write(path.suffix.lower()) and not os.path.isdir(path):
        raise argparse.ArgumentTypeError(
            f"{text!r} means a folder, but none is there: make it first, or remove the slash"
        )
    return path


def _can_write(suffix: str) -> bool:
    """Whether pictures with this ending are drawn. Pillow can write others, such as PDF."""
    return Image.registered_extensions().get(suffix) in DRAWN


def run_bulk(arguments: argparse.Namespace) -> None:
    """Do a bulk job. Raises SfdError if it can't be done."""
    # Imported here because only this needs the packages of the extra `bulk`.
    from detection.bulk import job

    request = job.Request(
        source=arguments.bulk,
        out=arguments.out,
        query=query_of(arguments),
        shard_size=arguments.shard_size or bulk.SHARD_SIZE,
        column=arguments.column,
        key=arguments.key,
        part=arguments.part or job.WHOLE,
        keep_listing=arguments.keep_listing,
        ray=arguments.ray,
        ray_cpus=arguments.ray_cpus,
    )
    job.run(request, configure(BulkSettings, arguments))


def configure(kind: type[Kind], arguments: argparse.Namespace) -> Kind:
    """The settings, with the arguments that override them."""
    return settings.load(
        kind,
        models=() if arguments.model else None,
        default_model=arguments.model,
        model_store=arguments.store,
        provider=arguments.provider,
    )


def query_of(arguments: argparse.Namespace) -> Query:
    """The thresholds among the arguments."""
    return Query(
        min_score=arguments.min_score,
        nms_iou=arguments.nms_iou,
        max_faces=arguments.max_faces,
        min_size=arguments.min_size,
        tiles=arguments.tiles == "auto",
    )


async def detect_files(
    files: Sequence[Source], drawings: Sequence[Path | None], arguments: argparse.Namespace
) -> int:
    """Detect faces in files and print results in the files' order.

    Returns how many files failed.
    """
    configured = configure(BulkSettings, arguments)
    detector = open_detector(find_model(configured, configured.served_models[0]), configured)
    query = query_of(arguments)
    failed = 0
    at_once = detector.group(FILES_AT_ONCE, query)
    with progress_bar(len(files)) as bar:
        for start in range(0, len(files), at_once):
            group = files[start : start + at_once]
            contents = [file.read(configured.max_bytes) for file in group]
            found = await detect_group(detector, contents, query)
            outs = drawings[start : start + at_once]
            for file, content, one, out in zip(group, contents, found, outs, strict=True):
                error = one if isinstance(one, RequestError) else None
                if isinstance(one, Detection) and isinstance(content, bytes) and out is not None:
                    style: Style = arguments.style or "boxes"
                    error = await write_drawing(content, one, detector, out, style)
                with bar.external_write_mode(sys.stderr):
                    show(file, one, as_json=arguments.json)
                    if error is not None:
                        failed += 1
                        say(f"sfd detect: {printable(file.name)}: {error}", error=True)
                bar.update()
    await detector.close()
    return failed


def progress_bar(files: int) -> "tqdm[NoReturn]":
    """A progress bar on stderr, if that is a terminal and the results go elsewhere."""
    hidden = sys.stdout.isatty() or not sys.stderr.isatty()
    return tqdm(total=files, unit="file", disable=hidden, leave=False)


async def write_drawing(
    content: bytes, found: Detection, detector: Detector, out: Path, style: Style
) -> RequestError | None:
    """Draw or hide the faces and write the picture, whole or not at all.

    Returns a failure, if any.
    """
    kind = Image.registered_extensions()[out.suffix.lower()]
    try:
        picture = await detector.draw(content, found, style, kind, NEVER)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, picture)
    except UnwritableFile as problem:
        return UnwritableFile(f"{out}: {problem}")
    except OSError as error:
        return UnwritableFile(f"{out}: cannot be written: {error}")
    except WriteError as error:
        return UnwritableFile(str(error))
    except RequestError as problem:
        return problem
    return None


def show(file: Source, found: Detection | RequestError, *, as_json: bool) -> None:
    """Print one file's result on stdout."""
    if as_json:
        line: dict[str, Any] = {"file": file.name}
        if isinstance(found, RequestError):
            line["error"] = found.as_dict()
        else:
            line |= found.as_dict()
        print(json.dumps(line), flush=True)
    elif isinstance(found, Detection):
        for face in found.as_dict()["faces"]:
            print(printable(file.name), *face["box"].values(), face["score"], sep="\t", flush=True)
        if not len(found.scores):
            say(f"sfd detect: {printable(file.name)}: no faces", error=True)
