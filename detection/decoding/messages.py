"""What this process and a worker send each other: JSON, and the bytes of files after it.

Not pickle: a hostile file that has taken over a worker must not run code here by its reply.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from multiprocessing.connection import Connection
from typing import Any

from detection import errors
from detection.decoding.tasks import Crop, Draw, Prepare, Prepared
from detection.errors import RequestError
from detection.rendering import UnwritableFile
from detection.tiles import Tile
from geometry.letterbox import Letterbox

Task = Prepare | Draw | Crop

_TASKS: Mapping[str, type[Prepare] | type[Draw] | type[Crop]] = {
    kind.__name__: kind for kind in (Prepare, Draw, Crop)
}
_ERRORS: Mapping[str, type[RequestError]] = {
    kind.slug: kind
    for kind in (
        errors.InvalidImage,
        errors.OutOfMemory,
        errors.TooExpensive,
        errors.TooManyPixels,
        errors.UnsupportedMediaType,
        UnwritableFile,
    )
}


LONGEST_HEAD = 2**20
"""Most bytes of a reply's JSON."""


class MalformedReply(Exception):
    """A reply that no worker would send."""


class DecodingBug(Exception):
    """A worker raised an unexpected exception; the message is its traceback."""


@dataclass(frozen=True, slots=True)
class Order:
    """A task for a worker, with its file."""

    task: Task
    data: bytes
    offsets: Sequence[int]
    """Where in the shared memory the pictures go, in bytes."""
    large: bool
    """Whether the task may use the memory of a large image."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer."""

    head: dict[str, Any]
    files: list[bytes]

    def check(self) -> None:
        """Raise the error that the worker has raised, if any."""
        if "error" in self.head:
            raise _ERRORS[self.head["error"]](self.head["detail"])
        if "bug" in self.head:
            raise DecodingBug(self.head["bug"])

    @property
    def is_reusable(self) -> bool:
        """Whether the worker has given back the memory of the task."""
        return self.head.get("reusable") is True

    def placements(self, most: int) -> tuple[list[Tile], list[Letterbox]]:
        """Of a Prepare: the tiles, at most `most`, and where each is in its picture."""
        tiles = [Tile(*_integers(values)) for values in self.head["tiles"]]
        placements = [Letterbox(*_integers(values)) for values in self.head["placements"]]
        if not 0 < len(tiles) == len(placements) <= most:
            raise MalformedReply(f"{len(tiles)} tiles of {most}")
        return tiles, placements


def send_order(connection: Connection, order: Order) -> None:
    """Send a task."""
    head = {
        "kind": type(order.task).__name__,
        "task": asdict(order.task),
        "offsets": order.offsets,
        "large": order.large,
        "size": len(order.data),
    }
    connection.send_bytes(json.dumps(head).encode())
    connection.send_bytes(order.data)


def receive_order(connection: Connection, allow: Callable[[int, bool], None]) -> Order:
    """What `send_order` sent. Raises EOFError at the end.

    `allow` is called before the file is received, with its size and whether the task is large.
    """
    head = json.loads(connection.recv_bytes())
    allow(head["size"], head["large"])
    fields = head["task"] | {"background": tuple(head["task"]["background"])}
    data = connection.recv_bytes()
    return Order(_TASKS[head["kind"]](**fields), data, head["offsets"], head["large"])


def describe(result: Prepared) -> dict[str, Any]:
    """The head of a reply with a result whose pictures are in the shared memory."""
    return {
        "tiles": [astuple(tile) for tile in result.tiles],
        "placements": [astuple(placement) for placement in result.placements],
        "decode": result.decode,
        "preprocess": result.preprocess,
    }


def send_reply(connection: Connection, head: Mapping[str, Any], files: Sequence[bytes]) -> None:
    """Send an answer."""
    connection.send_bytes(json.dumps({**head, "files": len(files)}).encode())
    for file in files:
        connection.send_bytes(file)


def receive_reply(connection: Connection, most_files: int) -> Reply:
    """What `send_reply` sent.

    Raises EOFError or OSError if the worker has ended or stops in between, and MalformedReply.
    """
    try:
        head = json.loads(connection.recv_bytes(LONGEST_HEAD))
        if not isinstance(head, dict) or not 0 <= int(head["files"]) <= most_files:
            raise MalformedReply("a reply with another number of files")
        return Reply(head, [connection.recv_bytes() for _ in range(head["files"])])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MalformedReply(f"a reply that is not JSON, or lacks a member: {error}") from None


def _integers(values: object) -> list[int]:
    if not isinstance(values, list) or not all(isinstance(value, int) for value in values):
        raise MalformedReply("coordinates that are not whole numbers")
    return values
