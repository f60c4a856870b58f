"""A worker does an item and reports how it ended; the same in every engine."""

from collections.abc import Iterator

from blip.capfilt.engine.protocol import (
    Done,
    EveryItemError,
    Failed,
    Item,
    News,
    Outcome,
    Result,
    Worker,
)
from blip.errors import BlipError, one_line


def work(worker: Worker[Item, Result], item: Item) -> Iterator[Outcome[Item, Result]]:
    """The outcomes of an item on a worker, up to its result or its error."""
    steps = worker(item)
    while True:
        try:
            news = next(steps)
        except StopIteration as end:
            yield Done(item, end.value)
            return
        # The job decides what an error means.
        except Exception as error:
            yield Failed(item, "raised", one_line(error), isinstance(error, EveryItemError))
            return
        yield News(item, news)


def refusal(error: Exception) -> BlipError:
    """The error for which no worker can be made, in a form that can be sent to another process."""
    return error if isinstance(error, BlipError) else BlipError(one_line(error))
