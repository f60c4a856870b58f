"""The interfaces of the two models of a job."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor


class OutOfMemoryError(Exception):
    """A batch of images does not fit into memory; a smaller one may."""


class Score(NamedTuple):
    """The scores of a text for an image."""

    itm: float
    """Probability of a match."""
    itc: float
    """Cosine of the contrastive features."""


class ImageModel(Protocol):
    """Reads images."""

    @property
    def image_size(self) -> int:
        """Side of the square pictures that it reads, in pixels."""
        ...


class CaptionModel(ImageModel, Protocol):
    """Writes texts about images."""

    def caption(
        self, images: Sequence[Tensor], seeds: Sequence[Sequence[int]]
    ) -> Sequence[Sequence[str]]:
        """For every image (3, size, size) one text for each seed; a text depends on image and seed.

        Raises OutOfMemoryError if the batch does not fit into memory.
        """
        ...


Scores = Sequence[Sequence[Score]]
"""Of the texts of each image."""


class MatchModel(ImageModel, Protocol):
    """Scores how well texts match images."""

    def begin(
        self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]
    ) -> Callable[[], Scores]:
        """Begin to score the texts of each image, and return what gives the scores.

        An image may have no texts. A GPU computes while the caller goes on. Both calls raise
        OutOfMemoryError where the batch does not fit into memory.
        """
        ...


Send = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Puts the images of a batch where a model reads them; a thread calls it while the models work."""


def leave(images: Sequence[Tensor]) -> Sequence[Tensor]:
    """The images as they are, in main memory."""
    return images


def nothing_to_free() -> None:
    """For models that keep nothing between batches."""


@dataclass(frozen=True, slots=True)
class Models:
    """The two models of a worker."""

    captioner: CaptionModel
    filter: MatchModel
    send_to_captioner: Send = leave
    send_to_filter: Send = leave
    forget: Callable[[], None] = nothing_to_free
    """Frees what both keep between batches, after memory ran out."""
