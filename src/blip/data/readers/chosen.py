"""Some of the samples of a place, read in one pass over it."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from blip.data.keys import with_safe_keys
from blip.data.sample import Sample

T = TypeVar("T")


def choose(numbered: Iterable[tuple[int, T]], numbers: Collection[int]) -> Iterator[tuple[int, T]]:
    """Those of the `numbers` among some entries in the order of theirs; reads on to the last."""
    wanted = set(numbers)
    last = max(wanted, default=-1)
    for number, entry in numbered if wanted else ():
        if number in wanted:
            yield number, entry
        # Before the next one is read: it may be the first of a long group.
        if number >= last:
            return


def read_alone(
    chosen: Iterable[tuple[int, T]],
    samples: Callable[[Iterable[T]], Iterable[Sample]],
    noun: str,
    *,
    keep_raw: bool = False,
) -> Iterator[tuple[int, Sample]]:
    """The samples of some entries with their numbers, each as it is where it is read alone.

    So a key that an earlier sample has gets no number (`with_safe_keys`, for the rest as well).
    """
    for number, entry in chosen:
        for sample in with_safe_keys(samples((entry,)), noun, number, keep_raw=keep_raw):
            yield number, sample
