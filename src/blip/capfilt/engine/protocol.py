"""The interface between a job and an engine."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from blip.errors import BlipError

Item = TypeVar("Item")
Result = TypeVar("Result")


class EveryItemError(BlipError):
    """An item failed for a reason that would fail every item, such as a full disk."""


Worker = Callable[[Item], Generator[Any, None, Result]]
"""Does an item: yields news on the way and returns the result."""

MakeWorker = Callable[[int], Worker[Item, Result]]
"""Makes a worker, called in its process with the number of its place, from 0."""


@dataclass(frozen=True, slots=True)
class News(Generic[Item]):
    """A value that a worker yielded on the way."""

    item: Item
    value: Any


@dataclass(frozen=True, slots=True)
class Done(Generic[Item, Result]):
    """An item is finished."""

    item: Item
    result: Result


@dataclass(frozen=True, slots=True)
class Failed(Generic[Item]):
    """An item failed, and is not retried."""

    item: Item
    kind: Literal["raised", "died"]
    """The worker raised an error, or its process ended."""
    error: str
    """One line."""
    fatal: bool = False
    """Whether every other item would fail, too (the worker raised an EveryItemError)."""


Outcome = News[Item] | Done[Item, Result] | Failed[Item]


class Engine(Protocol):
    """Runs items on workers; knows nothing of shards, retries or resuming."""

    def run(
        self, items: Sequence[Item], make_worker: MakeWorker[Item, Result]
    ) -> Iterator[Outcome[Item, Result]]:
        """Do every item once; outcomes come in the order of completion.

        Closing the iterator stops the work. Raises BlipError if no worker can be made.
        """
        ...
