"""The interface to which a detector reports its work, for metrics and traces."""

from dataclasses import dataclass

from detection.timings import Timings


@dataclass(frozen=True, slots=True)
class ImageDone:
    """One image whose faces have been found."""

    model: str
    width: int
    """In pixels of the upright image."""
    height: int
    tiles: int
    """Number of network inputs made from the image: 1 without tiles."""
    faces: int
    batch_size: int
    """Images in the same inference; with tiles, the largest batch."""
    looks: int
    """2 if the image got a second look for large faces, otherwise 1."""
    timings: Timings
    waited: float
    """Seconds of `timings.queue` before the image was decoded."""


class Observer:
    """Receives a detector's events; this base class ignores them.

    Its methods must return at once. `image_done` runs on the event loop, the others in any thread.
    """

    def image_done(self, done: ImageDone) -> None:
        """The faces of an image were found."""

    def batch_started(self, size: int) -> None:
        """An inference of `size` images begins. Called in the thread that runs it."""

    def decoder_stopped(self, reason: str) -> None:
        """A decoder's process was stopped, for one of `decoding.pool.ENDINGS`.

        Called in any thread.
        """
