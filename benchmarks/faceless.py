"""`python -m benchmarks.faceless`: lists pictures without people, to count false boxes on.

They come from packages of Debian 12: wallpapers, and Tux Paint's photographs of animals, plants and
things. Pictures that show people are left out, and of the stamps also drawings. They were chosen by
eye, and none was left out because of what a detector found. `python -m benchmarks.detectors` counts
the boxes.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.ending import exit_code
from sfd.arguments import new_file
from sfd.errors import SfdError, UsageError
from sfd.files import write_atomically
from training.data.images import opened

PACKAGES = (
    "gnome-backgrounds",
    "lomiri-wallpapers",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "tuxpaint-stamps-default",
    "ukui-wallpapers",
)
WALLPAPERS = ("usr/share/backgrounds", "usr/share/wallpapers")
STAMPS = "usr/share/tuxpaint/stamps"
SUFFIXES = {".jpg", ".jpeg", ".png"}
LEAST_BYTES = 20_000
"""Smaller files are icons and flat drawings."""
LEAST_STAMP_SIDE = 100
DRAWINGS = {
    "cartoon", "christmas", "clothes", "coins", "easter", "halloween", "hanukkah", "hats",
    "japanese", "medical", "newyears", "roadsigns", "seasonal", "symbols",
}  # fmt: skip
"""Folders of stamps that show drawings or dressed figures."""
PEOPLE = {"body_parts", "flight", "military", "people", "race"}
"""Folders of stamps with people, also small or masked ones."""
LEFT_OUT = {"spacewalk", "Autumn", "summer_1am", "Elephants_3840x2160", "Elephants_5640x3172"}
"""Wallpapers and stamps with a human figure, and copies of another wallpaper."""


def pictures(folder: Path) -> Iterator[Path]:
    """The pictures of unpacked packages, in order; of each wallpaper the largest file."""
    largest: dict[str, Path] = {}
    for place in WALLPAPERS:
        for path in _files(folder / place):
            parts = path.relative_to(folder / place).parts
            # Plasma has a folder for each wallpaper; elsewhere folders are collections.
            name = parts[0] if "contents" in parts else path.stem
            if name not in LEFT_OUT:
                before = largest.get(name)
                if before is None or path.stat().st_size > before.stat().st_size:
                    largest[name] = path
    yield from sorted(largest.values())
    for path in _files(folder / STAMPS):
        kinds = set(path.relative_to(folder / STAMPS).parts[:-1])
        if kinds & (DRAWINGS | PEOPLE) or path.stem in LEFT_OUT or path.stem.endswith("_mirror"):
            continue
        with opened(path) as image:
            if min(image.size) >= LEAST_STAMP_SIDE:
                yield path


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        if is_file and path.suffix.lower() in SUFFIXES and path.stat().st_size >= LEAST_BYTES:
            yield path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the list; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faceless",
        description="List pictures without people from unpacked packages of Debian 12: "
        f"{', '.join(PACKAGES)}.",
    )
    parser.add_argument(
        "folder", type=Path, help="where the packages were unpacked: it contains usr/"
    )
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="the folder that names start from"
    )
    parser.add_argument("--output", type=new_file, default=Path("faceless.jsonl"), metavar="FILE")
    given = parser.parse_args(arguments)
    return exit_code("faceless", lambda: _run(given))


def _run(given: argparse.Namespace) -> None:
    folder, images = given.folder.absolute(), given.images.absolute()
    if not folder.is_relative_to(images):
        raise UsageError(f"{given.folder} is not inside --images {given.images}")
    if given.output.exists():
        raise UsageError(f"{given.output} already exists; choose another --output")
    names = [path.relative_to(images).as_posix() for path in pictures(folder)]
    if not names:
        raise SfdError(f"no pictures in {folder}: unpack the packages there by `dpkg-deb -x`")
    rows = "".join(json.dumps({"image": name, "boxes": []}) + "\n" for name in names)
    write_atomically(given.output, rows.encode())
    print(f"{len(names)} pictures without people, written to {given.output}")


if __name__ == "__main__":
    sys.exit(main())
