"""What the pipeline and an engine know of each other."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from blip.errors import BlipError

Item = TypeVar("Item")
Result = TypeVar("Result")


class EveryItemError(BlipError):
    """An item cannot be done, and no other one could: a full disk, for example."""


Worker = Callable[[Item], Generator[Any, None, Result]]
"""Does an item: yields news on the way and returns the result."""

MakeWorker = Callable[[int], Worker[Item, Result]]
"""Makes a worker where it is to work; given the number of its place, from 0."""


@dataclass(frozen=True, slots=True)
class News(Generic[Item]):
    """What a worker yielded."""

    item: Item
    value: Any


@dataclass(frozen=True, slots=True)
class Done(Generic[Item, Result]):
    """An item is finished."""

    item: Item
    result: Result


@dataclass(frozen=True, slots=True)
class Failed(Generic[Item]):
    """An item is not finished, and no longer worked on."""

    item: Item
    kind: Literal["raised", "died"]
    """The worker raised an error, or its process ended."""
    error: str
    """One line."""
    fatal: bool = False
    """Whether the other items would fail alike (the worker raised an EveryItemError)."""


Outcome = News[Item] | Done[Item, Result] | Failed[Item]


class Engine(Protocol):
    """Places items on workers; knows nothing of shards, retries or resuming."""

    def run(
        self, items: Sequence[Item], make_worker: MakeWorker[Item, Result]
    ) -> Iterator[Outcome[Item, Result]]:
        """Do all items, each once; outcomes come in the order of completion.

        Closing the iterator stops the work. Raises BlipError where no worker can be made.
        """
        ...
