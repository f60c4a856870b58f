"""What an order is: which sample comes at which position, whatever it holds."""

from collections.abc import Sequence
from typing import Protocol

from blip.data.faults import BadSamples, Fault
from blip.data.sample import OrderedSample


class Order(Protocol):
    """An endless sequence of samples, each of which depends on its position alone."""

    @property
    def bad(self) -> BadSamples:
        """What was left out before the first position."""
        ...

    @property
    def size(self) -> int:
        """Examples or samples in all sources, each counted once."""
        ...

    @property
    def epoch_size(self) -> int:
        """Positions in an epoch, repetitions included."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of all that decides which sample stands where."""
        ...

    @property
    def former_fingerprint(self) -> str:
        """The fingerprint of earlier versions, which did not look at the samples themselves."""
        ...

    def prepare(self, positions: Sequence[int]) -> None:
        """Begin to fetch what these positions need."""
        ...

    def at(self, position: int, attempt: int = 0) -> OrderedSample | Fault:
        """The sample at a position, or why it cannot be read.

        Attempts from 1 on give other samples for a position whose own cannot be used.
        """
        ...
