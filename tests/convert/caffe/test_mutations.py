"""Damaged files give a network or a CaffeError, in little time and memory."""

import random
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from convert.caffe import network, weights
from convert.caffe.network import CaffeError

COUNT = 500
COUNT_OF_LARGE = 100
"""Of a real prototxt, which takes a tenth of a second to parse."""
SECONDS = 1.0
"""Of processor time for one file; a whole one takes a tenth of this at most."""
WORDS = [
    b"{", b"}", b"[", b"]", b"<", b">", b":", b'"', b"'", b"#", b"\\", b"\n", b"\0", b"-1", b"0",
    b"1e999", b"nan", b"99999999999999999999", b"0x", b"layer", b"layers", b"input_dim", b"type",
    b"data", b"conv", b"\xff\xfe", b"include", b"phase: TRAIN", b"layer { " * 200, b"x: [" * 200,
]  # fmt: skip


@dataclass(frozen=True)
class Files:
    prototxt: Path
    caffemodel: Path


def mutations(data: bytes, count: int, seed: int, text: bool) -> Iterator[bytes]:
    generator = random.Random(seed)
    tokens = re.findall(rb'"[^"\n]*"|\w+|\s+|.', data) if text else []
    for index in range(count):
        damaged = bytearray(data)
        kind = index % 5
        place = generator.randrange(len(data))
        if kind == 0:
            for _ in range(generator.randint(1, 8)):
                damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del damaged[place:]
        elif kind == 2:
            del damaged[place : place + generator.randint(1, 200)]
        elif kind == 3:
            damaged[place:place] = generator.choice(WORDS)
        elif text:
            swapped = list(tokens)
            for _ in range(generator.randint(1, 3)):
                a, b = generator.randrange(len(tokens)), generator.randrange(len(tokens))
                swapped[a], swapped[b] = swapped[b], swapped[a]
            damaged = bytearray(b"".join(swapped))
        else:
            # A length or dimension of many bytes, wherever it falls.
            damaged[place : place + 5] = b"\xff\xff\xff\xff\x07"
        yield bytes(damaged)


def try_all(read: Callable[[Path], object], path: Path, count: int = COUNT) -> list[str]:
    """What is read, or the message of the error, of each damaged version of the file."""
    results = []
    for data in mutations(path.read_bytes(), count, seed=11, text=path.suffix == ".prototxt"):
        path.write_bytes(data)
        start = time.process_time()
        results.append(attempt(read, path))
        assert time.process_time() - start < SECONDS
    return results


def attempt(read: Callable[[Path], object], path: Path) -> str:
    try:
        return type(read(path)).__name__
    except CaffeError as error:
        return str(error)


def check(results: list[str], count: int = COUNT) -> None:
    assert len(results) == count
    errors = [result for result in results if result not in ("Network", "Weights")]
    assert len(errors) > count / 5
    assert all(error.replace("\n  ", "").isprintable() for error in errors)


@pytest.fixture
def real(shared: Path, tmp_path: Path) -> Files:
    """Copies of a real model's files."""
    folder = shared / "models/upstream/sfd-320-mod11g"
    files = Files(tmp_path / "m.prototxt", tmp_path / "m.caffemodel")
    files.prototxt.write_bytes((folder / "deploy.prototxt").read_bytes())
    files.caffemodel.write_bytes((folder / "weights.caffemodel").read_bytes())
    return files


def test_a_damaged_prototxt_gives_a_network_or_one_error(small: Files) -> None:
    check(try_all(lambda path: network.load(path, small.caffemodel), small.prototxt))


def test_a_damaged_caffemodel_gives_a_network_or_one_error(small: Files) -> None:
    tracemalloc.start()
    check(try_all(lambda path: network.load(small.prototxt, path), small.caffemodel))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


def test_a_damaged_real_prototxt_gives_a_network_or_one_error(real: Files) -> None:
    read = try_all(lambda path: network.load(path, None), real.prototxt, COUNT_OF_LARGE)
    check(read, COUNT_OF_LARGE)


def test_a_damaged_real_caffemodel_gives_weights_or_one_error(real: Files) -> None:
    check(try_all(weights.read_all, real.caffemodel))
