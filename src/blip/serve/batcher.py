"""Requests of many clients wait in one bounded queue, and go through the model in batches."""

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from blip.serve.config import ServiceConfig

Group = Hashable
"""Jobs of one group may go through the model together."""
Run = Callable[[Any, Sequence[Any]], Sequence[Any]]
"""`(group, payloads) -> results`, one for each payload; called in the one thread of the model."""


class QueueFullError(Exception):
    """As many requests wait as may; `retry_after` is a guess in how many seconds there is room."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests wait; try again in {retry_after} s")
        self.retry_after = retry_after


class NotBegunError(Exception):
    """The deadline of a request passed while it waited."""


class NotDoneError(Exception):
    """The deadline of a request passed while it was worked on, by the model or as `work` says."""

    def __init__(self, work: str = "the model worked on it") -> None:
        super().__init__(f"the deadline passed while {work}")


class Watch(Protocol):
    """What is recorded of batches."""

    def batch_done(self, group: Any, size: int, seconds: float, waited: Sequence[float]) -> None:
        """A batch went through the model; its requests had waited so many seconds."""
        ...


@dataclass(slots=True, eq=False)
class _Job:
    group: Group
    payload: Any
    future: asyncio.Future[Any]
    deadline: float
    begun: bool = False
    queued: float = field(default_factory=time.monotonic)


class Batcher:
    """One queue for all functionalities and one thread that runs the model.

    The oldest request says what is computed next: it, and as many others of its group as wait or
    come within `max_wait`. While the model works, the next batch collects by itself. All methods
    are called in one event loop.
    """

    def __init__(self, run: Run, config: ServiceConfig, watch: Watch | None = None) -> None:
        self._run, self._config, self._watch = run, config, watch
        self._waiting: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="blip-model")
        self._collector: asyncio.Task[None] | None = None
        self._seconds_each = 0.0

    def start(self) -> None:
        """Begin to work on what is submitted."""
        self._collector = asyncio.create_task(self._collect())

    async def close(self) -> None:
        """Stop; requests that still wait are cancelled."""
        if self._collector is not None:
            self._collector.cancel()
            with suppress(asyncio.CancelledError):
                await self._collector
        for job in self._waiting:
            job.future.cancel()
        self._waiting.clear()
        await asyncio.to_thread(self._thread.shutdown)

    @property
    def is_running(self) -> bool:
        """Whether what is submitted will be worked on."""
        return self._collector is not None and not self._collector.done()

    @property
    def waiting(self) -> int:
        """Requests that wait for the model."""
        return len(self._waiting)

    def check_room(self) -> None:
        """Raise QueueFullError where as many requests wait as may."""
        if len(self._waiting) >= self._config.queue:
            raise QueueFullError(self._seconds_until_room())

    async def submit(self, group: Group, payload: Any, deadline: float) -> Any:
        """The result for a payload; `deadline` is a time of `time.monotonic`.

        Cancelled while it waits, it is taken from the queue and never computed. Raises
        QueueFullError, NotBegunError or NotDoneError, or what the model raised.
        """
        self.check_room()
        job = _Job(group, payload, asyncio.get_running_loop().create_future(), deadline)
        self._waiting.append(job)
        self._arrived.set()
        try:
            async with asyncio.timeout_at(_loop_time(deadline)):
                return await job.future
        except TimeoutError as error:
            raise NotDoneError if job.begun else NotBegunError from error
        finally:
            if not job.begun:
                with suppress(ValueError):
                    self._waiting.remove(job)

    async def _collect(self) -> None:
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            await self._let_others_join(self._waiting[0])
            batch = self._take_batch()
            if batch:
                await self._work_on(batch)

    async def _let_others_join(self, oldest: _Job) -> None:
        until = oldest.queued + self._config.max_wait / 1000
        while (rest := until - time.monotonic()) > 0 and self._count(oldest.group) < self._most:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._arrived.wait()

    @property
    def _most(self) -> int:
        return self._config.batch_size

    def _count(self, group: Group) -> int:
        return sum(job.group == group for job in self._waiting)

    def _take_batch(self) -> list[_Job]:
        """The oldest jobs of the group of the oldest one; they wait no longer."""
        if not self._waiting:
            return []
        group = self._waiting[0].group
        batch = [job for job in self._waiting if job.group == group][: self._most]
        for job in batch:
            job.begun = True
            self._waiting.remove(job)
        return batch

    async def _work_on(self, batch: Sequence[_Job]) -> None:
        begun, group = time.monotonic(), batch[0].group
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(
            self._thread, self._results, group, [job.payload for job in batch]
        )
        seconds = time.monotonic() - begun
        self._seconds_each = seconds / len(batch)
        if self._watch is not None:
            waited = [begun - job.queued for job in batch]
            self._watch.batch_done(group, len(batch), seconds, waited)
        for job, result in zip(batch, results, strict=True):
            # One that nobody waits for any more is done already.
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    def _results(self, group: Group, payloads: Sequence[Any]) -> Sequence[Any]:
        """The result of each payload, or the error; one that fails spoils no other's result."""
        try:
            return self._run(group, payloads)
        # Whatever it is, the one who waits for the result gets it.
        except Exception as error:
            failed = error
        _free_tensors(failed)
        if len(payloads) == 1:
            return [failed]
        del failed
        return [self._results(group, [payload])[0] for payload in payloads]

    def _seconds_until_room(self) -> int:
        return min(60, 1 + round(self._seconds_each * len(self._waiting)))


def _free_tensors(error: BaseException) -> None:
    """Empty the frames that an error holds, with all tensors of its batch; their lines stay."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def _loop_time(deadline: float) -> float:
    return asyncio.get_running_loop().time() + deadline - time.monotonic()
