"""One bounded queue, batches of one group, one thread; who leaves is not computed for."""

import asyncio
import threading
import time
import traceback
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from blip.serve.batcher import Batcher, NotBegunError, NotDoneError, QueueFullError
from blip.serve.config import ServiceConfig


class Model:
    """Doubles numbers, as soon as it may; remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[Any]]] = []
        self.threads: set[int] = set()
        self.may = threading.Event()
        self.may.set()

    def run(self, group: str, payloads: Sequence[Any]) -> list[Any]:
        self.batches.append((group, list(payloads)))
        self.threads.add(threading.get_ident())
        assert self.may.wait(20)
        if "bad" in payloads:
            raise ValueError("bad")
        return [2 * payload for payload in payloads]


def run(work: Callable[[Batcher, Model], Awaitable[Any]], **config: Any) -> tuple[Any, Model]:
    model = Model()

    async def main() -> Any:
        batcher = Batcher(model.run, ServiceConfig(**config))
        batcher.start()
        try:
            return await work(batcher, model)
        finally:
            model.may.set()
            await batcher.close()

    return asyncio.run(main()), model


def soon() -> float:
    return time.monotonic() + 30


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_each_gets_its_own_result_and_no_batch_is_mixed_or_too_large() -> None:
    async def work(batcher: Batcher, _: Model) -> list[int]:
        jobs = [batcher.submit("ab"[n % 2], n, soon()) for n in range(50)]
        return await asyncio.gather(*jobs)

    results, model = run(work, batch_size=8, max_wait=20.0)
    assert results == [2 * n for n in range(50)]
    assert len(model.threads) == 1
    for group, payloads in model.batches:
        assert {"ab"[n % 2] for n in payloads} == {group}
        assert len(payloads) <= 8
    # Of 25 each, no more batches than are needed.
    assert len(model.batches) == 8


def test_one_that_fails_spoils_no_other() -> None:
    async def work(batcher: Batcher, _: Model) -> list[Any]:
        jobs = [batcher.submit("a", n, soon()) for n in (1, "bad", 3)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    (one, error, three), _ = run(work, max_wait=20.0)
    assert (one, three) == (2, 6)
    assert isinstance(error, ValueError)


class Tensors:
    """Takes memory, as the tensors of a batch do."""


def test_what_a_failed_batch_held_is_free_when_its_jobs_are_done_alone() -> None:
    held: list[weakref.ref[Tensors]] = []
    alive: list[bool] = []

    def run_out_of_memory(_: str, payloads: Sequence[Any]) -> list[Any]:
        alive.append(any(one() is not None for one in held))
        tensors = Tensors()
        held.append(weakref.ref(tensors))
        if len(payloads) > 1 or payloads == ["bad"]:
            try:
                raise MemoryError("no memory")
            except MemoryError as error:
                raise ValueError("the batch failed") from error
        return list(payloads)

    batcher = Batcher(run_out_of_memory, ServiceConfig())
    one, bad, three = batcher._results("a", [1, "bad", 3])
    assert (one, three) == (1, 3)
    assert isinstance(bad, ValueError)
    assert "raise ValueError" in "".join(traceback.format_exception(bad))
    assert alive == [False] * 4


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    async def work(batcher: Batcher, model: Model) -> list[int]:
        model.may.clear()
        first = asyncio.create_task(batcher.submit("a", 1, soon()))
        await until(lambda: bool(model.batches))
        waiting = [asyncio.create_task(batcher.submit("a", n, soon())) for n in (2, 3)]
        await until(lambda: batcher.waiting == 2)
        with pytest.raises(QueueFullError, match="try again in") as refused:
            await batcher.submit("a", 4, soon())
        assert refused.value.retry_after >= 1
        model.may.set()
        return await asyncio.gather(first, *waiting)

    results, model = run(work, queue=2, max_wait=0.0)
    assert results == [2, 4, 6]
    assert [4] not in [payloads for _, payloads in model.batches]


def test_work_of_one_who_left_is_not_computed() -> None:
    async def work(batcher: Batcher, model: Model) -> None:
        model.may.clear()
        first = asyncio.create_task(batcher.submit("a", 1, soon()))
        await until(lambda: bool(model.batches))
        leaves = asyncio.create_task(batcher.submit("a", 2, soon()))
        await until(lambda: batcher.waiting == 1)
        leaves.cancel()
        await asyncio.gather(leaves, return_exceptions=True)
        assert batcher.waiting == 0
        # One that leaves during its computation disturbs nobody either.
        first.cancel()
        model.may.set()
        assert await batcher.submit("a", 3, soon()) == 6

    _, model = run(work, max_wait=0.0)
    assert [payloads for _, payloads in model.batches] == [[1], [3]]


def test_a_deadline_ends_the_wait_in_the_queue_and_in_the_model() -> None:
    async def work(batcher: Batcher, model: Model) -> None:
        model.may.clear()
        first = asyncio.create_task(batcher.submit("a", 1, time.monotonic() + 0.2))
        await until(lambda: bool(model.batches))
        with pytest.raises(NotBegunError):
            await batcher.submit("a", 2, time.monotonic() + 0.05)
        assert batcher.waiting == 0
        with pytest.raises(NotDoneError):
            await first
        model.may.set()
        assert await batcher.submit("a", 3, soon()) == 6

    _, model = run(work, max_wait=0.0)
    assert [payloads for _, payloads in model.batches] == [[1], [3]]
