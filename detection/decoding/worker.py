"""A worker process: does the tasks that come over its connection, within its limits."""

import mmap
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from PIL import AvifImagePlugin

from detection import images
from detection.decoding import messages
from detection.decoding.limits import (
    Limits,
    allow_cpu,
    allow_memory,
    can_have_what_is_allowed,
    confine,
    used_memory,
)
from detection.decoding.messages import Order
from detection.decoding.pixels import write
from detection.decoding.tasks import Prepared
from detection.errors import InvalidImage, OutOfMemory, RequestError, TooExpensive
from detection.formats import media_types
from detection.sizes import readable_bytes

DECODED_WHEN_OPENED = ("WebP", "AVIF")
"""The formats for which even the header may need more than the usual memory."""
MOST_GROWN = 64 * 2**20
"""A worker that keeps more bytes than this after an image is not used again."""


@dataclass(frozen=True, slots=True)
class Worker:
    """The state of a worker process."""

    connection: Connection
    limits: Limits
    pixels: mmap.mmap
    """The shared memory, for the network's inputs."""
    base: int = field(default_factory=used_memory)
    """What it uses before the first image."""

    def serve(self) -> None:
        """Do tasks until the other side closes the connection."""
        confine()
        # Pillow's libraries write to stderr by themselves.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        # A worker's share of the processor is one core.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        while True:
            try:
                order = messages.receive_order(self.connection, self.allow)
            except EOFError:
                return
            head, files = self.answer(order)
            del order
            head["reusable"] = used_memory() - self.base < MOST_GROWN
            messages.send_reply(self.connection, head, files)

    def allow(self, size: int, large: bool) -> None:
        """Set the limits of this process for a task with a file of `size` bytes."""
        # The file is in memory three times: as it is received, as bytes, and in Pillow.
        memory = self.limits.memory if large else self.limits.usual_memory
        allow_memory(self.base + memory + 3 * size)
        allow_cpu(self.limits.cpu_seconds)

    def may_be_short(self, order: Order) -> bool:
        """Whether a file may have failed because it was not allowed enough memory."""
        size = images.pixels(order.data)
        if size is None:
            return not order.large and media_types.kind(order.data) in DECODED_WHEN_OPENED
        return self.limits.may_be_short(size, large=order.large)

    def answer(self, order: Order) -> tuple[dict[str, Any], Sequence[bytes]]:
        """The head of the reply, and its files."""
        try:
            result = self.work(order)
        except RequestError as problem:
            return {"error": problem.slug, "detail": str(problem)}, ()
        except Exception:
            return {"bug": traceback.format_exc()}, ()
        if not isinstance(result, Prepared):
            return {}, result
        for pixels, offset in zip(result.pictures, order.offsets, strict=False):
            write(self.pixels, offset, pixels)
        return messages.describe(result), ()

    def work(self, order: Order) -> Prepared | list[bytes]:
        """Do a task. Raises RequestError: OutOfMemory if it may succeed with more memory."""
        try:
            return order.task.run(order.data)
        except (OutOfMemory, MemoryError):
            pass
        except InvalidImage:
            # A decoder that gets no memory may call the file broken.
            if not self.may_be_short(order):
                raise
        if order.large and can_have_what_is_allowed():
            raise TooExpensive(
                "this image takes too much memory to decode or draw: more than "
                f"{readable_bytes(self.limits.memory)}"
            )
        raise OutOfMemory("too little memory is left for this image; try again later")
