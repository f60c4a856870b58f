"""What a service allows: sizes, times and the queue; loads no torch."""

from dataclasses import dataclass
from typing import Annotated

from blip.config.ranges import BATCH_SIZE, COUNT, NOT_NEGATIVE, POSITIVE, check_fields

MEGABYTE = 10**6


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceConfig:
    """Limits of a service: what is beyond them is refused, so that memory stays bounded."""

    queue: Annotated[int, COUNT] = 256
    """Requests that wait for the model; the next ones get 429 and may come again."""
    batch_size: Annotated[int, BATCH_SIZE] = 16
    """Requests that go through the model together."""
    max_wait: Annotated[float, NOT_NEGATIVE] = 5.0
    """Milliseconds for which a request waits for others to join it."""
    deadline: Annotated[float, POSITIVE] = 30.0
    """Seconds in which a request must be answered; later it gets 503 or 504."""
    max_body: Annotated[float, POSITIVE] = 20.0
    """Largest request, in 10^6 bytes; larger ones get 413."""
    max_bodies: Annotated[float, POSITIVE] = 500.0
    """Most space for all requests that are being received, in 10^6 bytes."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)
