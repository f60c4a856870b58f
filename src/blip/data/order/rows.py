"""What a row of a batch is, wherever it comes from."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from blip.data.readers.archive import Fault


class Row(NamedTuple):
    """A picture and a text for it."""

    pixels: np.ndarray
    """`(size, size, 3)` uint8."""
    text: str
    """Cleaned, with the prompt before it."""
    image_id: int
    """Equal for rows of the same image."""
    key: str


class Rows(Protocol):
    """An endless stream of rows, each of which depends on its position alone."""

    @property
    def size(self) -> int:
        """What there is, each counted once."""
        ...

    @property
    def order_fingerprint(self) -> str:
        """Of all that decides which row stands where."""
        ...

    @property
    def epoch_size(self) -> int:
        """Rows in an epoch, repetitions included."""
        ...

    def rows(self, positions: Sequence[int]) -> tuple[list[Row], list[Fault]]:
        """The rows at some positions, and what was met instead where another had to stand in."""
        ...
