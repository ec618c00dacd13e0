"""Turns the events of a detector into metrics and traces."""

from detection.observer import ImageDone, Observer
from service import tracing
from service.metrics import Metrics


class ServiceObserver(Observer):
    """Counts in the metrics of the process, and adds spans to the trace of the request."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def image_done(self, done: ImageDone) -> None:
        """Count its stages, faces and pixels, and record its spans."""
        self.metrics.observe(done.timings)
        self.metrics.faces.inc(done.faces)
        self.metrics.second_looks.inc(done.looks - 1)
        self.metrics.image_pixels.observe(done.width * done.height)
        tracing.record(
            done.timings,
            done.waited,
            {
                "sfd.model": done.model,
                "sfd.image.width": done.width,
                "sfd.image.height": done.height,
                "sfd.tiles": done.tiles,
                "sfd.looks": done.looks,
                "sfd.batch_size": done.batch_size,
                "sfd.faces": done.faces,
            },
        )

    def batch_started(self, size: int) -> None:
        """Count the size of the batch."""
        self.metrics.batch_size.observe(size)

    def decoder_stopped(self, reason: str) -> None:
        """Count it."""
        self.metrics.decoders_stopped.labels(reason).inc()
