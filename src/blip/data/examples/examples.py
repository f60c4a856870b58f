"""The interface between a task's examples and what orders, mixes, resumes and loads them."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from blip.data.sample import OrderedSample, Sample, Selected

Example = TypeVar("Example")
Batch = TypeVar("Batch", covariant=True)


class Examples(Protocol[Example, Batch]):
    """Makes examples of samples, and batches of examples."""

    @property
    def noun(self) -> str:
        """What one example is called in messages, such as "pair"."""
        ...

    def select(self, sample: Sample) -> Selected:
        """The part of a sample that examples are made of; its picture is not decoded."""
        ...

    def check(self, sample: Sample) -> Selected:
        """As `select`, with every picture decoded, so that `make` meets no broken one."""
        ...

    def make(self, ordered: OrderedSample, rng: np.random.Generator) -> Example:
        """An example of a sample that `select` has returned: the one that is due, or one drawn.

        All that is random comes from `rng`. Raises BadSampleError if none can be made.
        """
        ...

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of examples."""
        ...
