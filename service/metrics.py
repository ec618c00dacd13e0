"""The Prometheus metrics of one service process.

Docs, dashboard and alerts use the names and labels. Every label has few values.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from detection.decoding.pool import ENDINGS
from detection.limits import MAX_BATCH
from detection.timings import STAGES, Timings
from service.errors import DOCUMENTED, ClientGone

SECONDS = tuple(0.001 * 2**power for power in range(14))
"""From 1 ms to 8.192 s by factors of 2."""
BATCHES = tuple(2**power for power in range(MAX_BATCH.bit_length()))
"""From 1 to MAX_BATCH by factors of 2."""
FETCHES = ("fetched", "refused", "fetch-failed", "payload-too-large", "timeout")
"""How the fetch of an image by URL can end."""
PIXELS = tuple(10_000 * 4**power for power in range(8))


class Metrics:
    """All collectors, in a registry of their own: a process can run several services."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "sfd_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "sfd_request_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "sfd_stage_seconds",
            "Seconds that an image spent in a stage.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "sfd_batch_size", "Images in an inference.", buckets=BATCHES, registry=registry
        )
        self.queue_depth = Gauge(
            "sfd_queue_depth", "Images accepted and not yet in inference.", registry=registry
        )
        self.in_flight = Gauge("sfd_in_flight", "Requests being answered.", registry=registry)
        self.rejected = Counter(
            "sfd_rejected",
            "Requests and images that got an error instead of faces, by its type.",
            ["reason"],
            registry=registry,
        )
        self.fetches = Counter(
            "sfd_fetches", "Images fetched by URL, by how it ended.", ["outcome"], registry=registry
        )
        self.decoders_stopped = Counter(
            "sfd_decoders_stopped",
            "Processes stopped while they decoded an image: it took too much CPU time, its request "
            "ended, others waited, or the process hung or crashed.",
            ["reason"],
            registry=registry,
        )
        self.second_looks = Counter(
            "sfd_second_looks",
            "Images that got a second inference, for a face that nearly fills them.",
            registry=registry,
        )
        self.faces = Counter("sfd_faces", "Faces found.", registry=registry)
        self.image_pixels = Histogram(
            "sfd_image_pixels", "Pixels of an image.", buckets=PIXELS, registry=registry
        )
        self.log_lines_dropped = Counter(
            "sfd_log_lines_dropped",
            "Log lines that were dropped, because they were written faster than read.",
            registry=registry,
        )
        self.file_limits = Counter(
            "sfd_file_limits",
            "Times that too few files were left to open, so that new connections had to wait.",
            registry=registry,
        )
        self.model_info = Gauge(
            "sfd_model_info",
            "1 for each model, with the provider that runs it and its precision.",
            ["model", "version", "provider", "precision"],
            registry=registry,
        )
        self.model_ready = Gauge(
            "sfd_model_ready",
            "1 when a model is warmed up and takes requests, and decoding is not stalled.",
            ["model"],
            registry=registry,
        )
        self.model_workers = Gauge(
            "sfd_model_workers",
            "Batches of a model that run at the same time.",
            ["model"],
            registry=registry,
        )
        self.model_max_batch = Gauge(
            "sfd_model_max_batch", "Most images in one inference.", ["model"], registry=registry
        )
        self.model_image_seconds = Gauge(
            "sfd_model_image_seconds",
            "Cost of an image in seconds of all workers together, predicted from the latest "
            "batches.",
            ["model"],
            registry=registry,
        )
        self.predicted_wait = Gauge(
            "sfd_predicted_wait_seconds",
            "Predicted wait for inference of an image accepted now, in seconds.",
            ["model"],
            registry=registry,
        )
        self.decoders_memory = Gauge(
            "sfd_decoders_memory_bytes",
            "Resident memory of the processes that decode images, without what they share with "
            "each other. It is not part of process_resident_memory_bytes.",
            registry=registry,
        )
        self.decoders_cpu = Gauge(
            "sfd_decoders_cpu_seconds",
            "CPU time of the processes that decode images, since the start. It is not part of "
            "process_cpu_seconds_total.",
            registry=registry,
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        for reason in ENDINGS:
            self.decoders_stopped.labels(reason)
        for outcome in FETCHES:
            self.fetches.labels(outcome)
        # Start at zero: an alert sees no increase in a counter that first appears at 1.
        for slug in (*(problem.slug for problem in DOCUMENTED), ClientGone.slug):
            self.rejected.labels(slug)

    def observe(self, timings: Timings) -> None:
        """Count the stage times of one image."""
        for stage in STAGES:
            self.stage_seconds.labels(stage).observe(getattr(timings, stage))
