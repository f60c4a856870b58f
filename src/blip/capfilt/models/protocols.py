"""The two models of a job, as narrow as its stages need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor


class OutOfMemoryError(Exception):
    """A model has no room for so many images at a time."""


class Score(NamedTuple):
    """How well a text fits an image."""

    itm: float
    """Probability of a match."""
    itc: float
    """Cosine of the contrastive features."""


class CaptionModel(Protocol):
    """Writes texts about images."""

    @property
    def image_size(self) -> int:
        """Side of the square pictures that it reads."""
        ...

    def caption(
        self, images: Sequence[Tensor], seeds: Sequence[Sequence[int]]
    ) -> Sequence[Sequence[str]]:
        """For every image (3, size, size) one text a seed; a text depends on image and seed.

        Raises OutOfMemoryError where fewer images would go through.
        """
        ...


class MatchModel(Protocol):
    """Says whether texts are about images."""

    @property
    def image_size(self) -> int:
        """Side of the square pictures that it reads."""
        ...

    def score(
        self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]
    ) -> Sequence[Sequence[Score]]:
        """Scores of the texts of each image; an image may have no texts.

        Raises OutOfMemoryError where fewer images would go through.
        """
        ...


@dataclass(frozen=True, slots=True)
class Models:
    """What a worker holds."""

    captioner: CaptionModel
    filter: MatchModel
