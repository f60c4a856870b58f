"""Work in threads that no process waits for when it ends: Ctrl-C stops those who wait for it."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_LEFT: ContextVar[tuple[threading.Event, ...]] = ContextVar("left", default=())
"""Set for what those who began the work of this thread, and theirs, do not wait for any more."""


def is_left() -> bool:
    """Whether nobody waits any more for the work of this thread: it may end with any error."""
    return any(event.is_set() for event in _LEFT.get())


def do_within(seconds: float, work: Callable[[], Result]) -> Result:
    """The result of `work`, which a daemon thread does; raises TimeoutError if it takes longer.

    Unlike those of `ThreadPoolExecutor`, Python does not wait for such a thread before it ends.
    """
    future = Future[Result]()
    with _waited_for():
        _start(partial(_do, work, future))
        return future.result(seconds)


def map_in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    threads: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Result]:
    """`work` on every item, in order, by daemon threads; `advance` is called for each that is done.

    Raises what `work` raised for the first of the items that failed. Then, and where Ctrl-C comes,
    no more work is begun, and what is under way is not waited for.
    """
    futures = [Future[Result]() for _ in items]
    waiting = deque(zip((partial(work, item) for item in items), futures, strict=True))

    def work_on() -> None:
        while waiting:
            try:
                one, future = waiting.popleft()
            # Another thread was faster.
            except IndexError:
                return
            _do(one, future)

    with _waited_for():
        try:
            for _ in range(min(threads, len(items))):
                _start(work_on)
            results: list[Result] = []
            for future in futures:
                results.append(future.result())
                advance()
            return results
        finally:
            waiting.clear()


@contextmanager
def _waited_for() -> Iterator[None]:
    left = threading.Event()
    before = _LEFT.set((*_LEFT.get(), left))
    try:
        yield
    finally:
        left.set()
        _LEFT.reset(before)


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=copy_context().run, args=(work,), daemon=True).start()


def _do(work: Callable[[], Result], future: Future[Result]) -> None:
    try:
        future.set_result(work())
    # Whatever it is, the one who waits for the result gets it.
    except BaseException as error:
        future.set_exception(error)
