"""What `/metrics` tells Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
STAGES = ("read", "decode", "queue", "compute")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Measurements:
    """The measurements of one server, in a registry of its own.

    Args:
        waiting: Returns how many images wait in the queue.
    """

    def __init__(self, waiting: Callable[[], int]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._stages = Histogram(
            "captioner_stage_seconds",
            "Seconds of each stage: a request's body is read, an image decoded, an image waits in"
            " the queue, a batch is computed.",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._batches = Histogram(
            "captioner_batch_images",
            "Images of each batch, without those that fill it up.",
            buckets=_SIZES,
            registry=self._registry,
        )
        queue = Gauge(
            "captioner_queue_images",
            "Images that have been accepted and wait to be computed.",
            registry=self._registry,
        )
        queue.set_function(waiting)
        self._rejections = Counter(
            "captioner_rejections",
            "Requests, and images of requests with several, that were refused, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._requests = Counter(
            "captioner_requests",
            "Requests by the status of their answers; 499 where the client did not wait.",
            ["status"],
            registry=self._registry,
        )

    def measure_stage(self, stage: str, seconds: float) -> None:
        """Add the duration of a stage, one of `STAGES`."""
        self._stages.labels(stage).observe(seconds)

    def measure_batch(self, images: int) -> None:
        """Add the size of a batch."""
        self._batches.observe(images)

    def count_rejection(self, reason: str) -> None:
        """Count a refused request or image."""
        self._rejections.labels(reason).inc()

    def count_request(self, status: int) -> None:
        """Count an answered request."""
        self._requests.labels(str(status)).inc()

    def to_text(self) -> bytes:
        """Return all measurements in the text format of Prometheus."""
        return generate_latest(self._registry)
