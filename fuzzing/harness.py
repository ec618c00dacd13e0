"""Runs a fuzz target: with atheris' libFuzzer, or with `-plain` on any Python.

    python fuzzing/fuzz_image.py CORPUS -max_total_time=300 -dict=fuzzing/dictionaries/image.dict
    python fuzzing/fuzz_image.py -plain -runs=300 CORPUS

`-plain` runs every file of the corpus once, and then `runs` random changes of them. It needs no
package and finds little: it keeps the targets and their cases working.
"""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

PLAIN = "-plain" in sys.argv or not Path(sys.argv[0]).name.startswith("fuzz_")
"""Whether atheris is left out; also when another script imports a target."""
OURS = ("convert", "detection", "geometry", "service", "sfd", "store")
"""The packages whose branches guide the fuzzer, with the parsers below."""
PARSERS = ("PIL", "python_multipart")

if not PLAIN:
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is missing: pip install 'sfd[fuzz]', or give -plain")


def instrumented() -> AbstractContextManager[Any]:
    """Modules that are imported in this context tell the fuzzer which branches ran."""
    if PLAIN:
        return nullcontext()
    found: AbstractContextManager[Any] = atheris.instrument_imports(include=[*OURS, *PARSERS])
    return found


def main(one: Callable[[bytes], None]) -> None:
    """Run the target `one` as the command line says."""
    if not PLAIN:
        atheris.Setup(sys.argv, one)
        atheris.Fuzz()
        return
    options = dict(arg.lstrip("-").partition("=")[::2] for arg in sys.argv[1:] if arg[0] == "-")
    files = [file for arg in sys.argv[1:] if arg[0] != "-" for file in files_of(Path(arg))]
    seeds = [file.read_bytes() for file in files]
    for file, data in zip(files, seeds, strict=True):
        attempt(one, data, str(file))
    for number in range(int(options.get("runs", 0))):
        chance = random.Random(number)
        data = mutate(chance.choice(seeds), chance.choice(seeds), chance)
        attempt(one, data, f"run {number}")
    print(f"{len(files)} files and {options.get('runs', 0)} changes of them")


def files_of(path: Path) -> Iterator[Path]:
    """The files of a folder in order, or the file itself."""
    yield from sorted(path.iterdir()) if path.is_dir() else [path]


def attempt(one: Callable[[bytes], None], data: bytes, name: str) -> None:
    """Run the target once; a failure keeps its input in the file crash-plain."""
    try:
        one(data)
    except BaseException:
        Path("crash-plain").write_bytes(data)
        print(f"failed: {name}; its input is in crash-plain", file=sys.stderr)
        raise


def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """One to four random changes of a file."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        length = chance.choice([1, 1, 2, 8, 64])
        match chance.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = changed[at : at + length]
            case 3:
                changed[at : at + length] = chance.randbytes(length)
            case 4:
                start = chance.randrange(len(other) + 1)
                changed[at:at] = other[start : start + length]
            case _:
                edge = chance.choice([b"\0" * 4, b"\xff" * 4, b"-1", b"4294967296", b"1e999"])
                changed[at : at + len(edge)] = edge
    return bytes(changed)
