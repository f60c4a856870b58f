"""What Prometheus reads: requests, times, batches and the queue."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "blip_requests", "Requests answered.", ("path", "status"), registry=registry
        )
        self._seconds = Histogram(
            "blip_request_seconds",
            "From the arrival of a request to its answer.",
            ("path",),
            buckets=SECONDS,
            registry=registry,
        )
        self._sizes = Histogram(
            "blip_batch_size",
            "Requests that went through the model together.",
            ("functionality",),
            buckets=SIZES,
            registry=registry,
        )
        self._model = Histogram(
            "blip_model_seconds",
            "Time of the model for a batch.",
            ("functionality",),
            buckets=SECONDS,
            registry=registry,
        )
        self._waited = Histogram(
            "blip_queue_seconds",
            "For how long requests waited for the model.",
            buckets=SECONDS,
            registry=registry,
        )
        self._waiting = Gauge("blip_queue_length", "Requests that wait now.", registry=registry)
        self._left = Counter(
            "blip_clients_left", "Clients that left before their answer.", registry=registry
        )

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Read the length of the queue whenever metrics are."""
        self._waiting.set_function(length)

    def request_done(self, path: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def client_left(self) -> None:
        """A client left before its answer."""
        self._left.inc()

    def batch_done(self, group: Any, size: int, seconds: float, waited: Sequence[float]) -> None:
        """A batch went through the model."""
        self._sizes.labels(group.functionality).observe(size)
        self._model.labels(group.functionality).observe(seconds)
        for one in waited:
            self._waited.observe(one)

    def text(self) -> bytes:
        """In the format of Prometheus."""
        return generate_latest(self.registry)


def joined(replicas: Iterable[tuple[str, bytes]]) -> bytes:
    """The metrics of several replicas as those of one service; a label has each one's name."""
    families: dict[str, Metric] = {}
    for replica, text in replicas:
        for family in text_string_to_metric_families(text.decode()):
            empty = Metric(family.name, family.documentation, family.type)
            into = families.setdefault(family.name, empty)
            for sample in family.samples:
                labels = {"replica": replica, **sample.labels}
                into.samples.append(sample._replace(labels=labels))
    registry = CollectorRegistry()
    registry.register(_Families(tuple(families.values())))
    return generate_latest(registry)


@dataclass(frozen=True, slots=True, eq=False)
class _Families(Collector):
    """Metrics that were collected before."""

    families: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self.families
