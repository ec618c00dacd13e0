"""Memory that the workers and this process share: a worker writes pixels, the batcher reads them.

It is an anonymous file, whose pages take memory only once they are written. It is divided into
slots of one network input each.
"""

import math
import mmap
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Sequence

import numpy as np

from detection.letterbox import Pixels


def anonymous_file(size: int) -> int:
    """The descriptor of an empty file without a name; its owner closes it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sfd-pixels", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.truncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class PixelMemory:
    """Slots of `slot_bytes` bytes, `count` + `spare`. Taken here, and written by a worker.

    When fewer than `spare` slots are free, a picture is copied out of its slot. So `spare` slots
    can always be taken. Thread-safe.
    """

    KEPT = 16
    """Slots that keep their memory when they are free."""

    def __init__(self, slot_bytes: int, count: int, spare: int) -> None:
        self.slot_bytes = math.ceil(slot_bytes / mmap.PAGESIZE) * mmap.PAGESIZE
        self.size = self.slot_bytes * (count + spare)
        self.descriptor = anonymous_file(self.size)
        self._map = mmap.mmap(self.descriptor, self.size)
        self._spare = spare
        # A stack, so that the same few slots are used again and again. Appending is atomic: the
        # last reference to a picture may go at any point of any thread.
        self._free = deque(reversed(range(count + spare)))

    def take(self, count: int) -> list[int]:
        """The numbers of `count` free slots. Raises IndexError if there are too few."""
        return [self._free.pop() for _ in range(count)]

    def give_back(self, slots: Sequence[int]) -> None:
        """Free slots that no picture uses."""
        for slot in reversed(slots):
            self._release(slot)

    def picture(self, slot: int, shape: tuple[int, int, int]) -> Pixels:
        """The uint8 array of `shape` in a slot. The slot is free when nobody uses the array."""
        flat = np.frombuffer(self._map, np.uint8, math.prod(shape), slot * self.slot_bytes)
        if len(self._free) < self._spare:
            try:
                return flat.reshape(shape).copy()
            finally:
                self._release(slot)
        flat.flags.writeable = False
        # Arrays made from `flat`, by slicing or reshaping, refer to it and keep it alive.
        weakref.finalize(flat, self._release, slot).atexit = False
        return flat.reshape(shape)

    def close(self) -> None:
        """Close the file. The memory goes with the last picture."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _release(self, slot: int) -> None:
        try:
            if slot >= self.KEPT and hasattr(mmap, "MADV_REMOVE"):
                self._map.madvise(mmap.MADV_REMOVE, slot * self.slot_bytes, self.slot_bytes)
        except OSError:
            # Locked in memory, or a kernel that cannot: then it keeps the memory.
            pass
        finally:
            self._free.append(slot)


def write(memory: mmap.mmap, offset: int, pixels: Pixels) -> None:
    """Copy pixels into a worker's view of the memory."""
    size = pixels.size
    np.frombuffer(memory, np.uint8, size, offset)[:] = pixels.reshape(-1)
