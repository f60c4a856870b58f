"""A service: receives a request, decodes its picture, lets the batcher compute, in time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel

from blip.data.images import BadImageError
from blip.index.search import Hit
from blip.inference.pixels import NormalisedImage
from blip.processes import usable_cpus
from blip.serve.batcher import Batcher, NotBegunError, NotDoneError
from blip.serve.bodies import Received, Receiver, drain
from blip.serve.config import ServiceConfig
from blip.serve.metrics import Metrics
from blip.serve.models import Functionality, Models, Work

Result = TypeVar("Result")
Fields = TypeVar("Fields", bound=BaseModel)

READERS = 2
"""Threads that read thumbnails."""


class ClientLeftError(Exception):
    """Nobody waits for the answer any more."""


class Service:
    """Everything that a request passes through, and the limits of all of it."""

    def __init__(self, models: Models, config: ServiceConfig) -> None:
        self.models, self.config, self.metrics = models, config, Metrics()
        self.batcher = Batcher(models.run, config, self.metrics)
        self.receiver = Receiver(config)
        self.metrics.watch_queue(lambda: self.batcher.waiting)
        self._decoders = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="blip-decode")
        # Threads of their own: those that wait for a remote place must not keep pictures waiting.
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="blip-thumbnail")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work on requests within the block."""
        self.batcher.start()
        try:
            yield
        finally:
            await self.batcher.close()
            for pool in (self._decoders, self._readers):
                pool.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self,
        request: Request,
        job: Functionality,
        schema: type[Fields],
        work_on: Callable[[Fields, NormalisedImage | None, float], Awaitable[Result]],
    ) -> Result:
        """Receive a request, read it as `schema` and let `work_on` compute the answer.

        `work_on` gets the fields, the picture and the deadline. Once the client has left, it is
        cancelled.
        """
        deadline = time.monotonic() + self.config.deadline
        try:
            self.models.check(job)
            self.batcher.check_room()
        except Exception:
            await drain(request, self.receiver.most)
            raise
        async with self.receiver.receive(request, schema, deadline) as received:
            work = asyncio.create_task(self._work(job, received, work_on, deadline))
            await self._until_client_leaves(request, work)
        return work.result()

    async def submit(self, work: Work, payload: Any, deadline: float) -> Any:
        """The result for a payload."""
        return await self.batcher.submit(work, payload, deadline)

    async def _work(
        self,
        job: Functionality,
        received: Received,
        work_on: Callable[[Any, NormalisedImage | None, float], Awaitable[Result]],
        deadline: float,
    ) -> Result:
        image = None
        if received.image is not None:
            image = await self._decode(job, received.image, deadline)
        return await work_on(received.fields, image, deadline)

    async def thumbnails(self, hits: Sequence[Hit], deadline: float) -> list[str | None]:
        """The picture of each hit, small, as a data address; None where it is no longer there.

        Raises NotDoneError.
        """
        try:
            return await _in_threads(self._readers, deadline, self.models.thumbnails, hits)
        except TimeoutError as error:
            raise NotDoneError("thumbnails were read") from error

    async def _decode(self, job: Functionality, content: bytes, deadline: float) -> NormalisedImage:
        try:
            return await _in_threads(self._decoders, deadline, self.models.read, job, content)
        except TimeoutError as error:
            raise NotBegunError from error
        except BadImageError as error:
            raise HTTPException(422, f"`image` cannot be used: {error.in_words}") from error

    async def _until_client_leaves(self, request: Request, work: asyncio.Task[Any]) -> None:
        """Wait until the work is done; raises ClientLeftError if the client leaves before."""
        leaving = asyncio.create_task(_leaves(request))
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientLeftError
        finally:
            for task in (work, leaving):
                if not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task


async def _in_threads(
    pool: ThreadPoolExecutor, deadline: float, function: Callable[..., Result], *given: Any
) -> Result:
    """What a function returns in one of these threads; raises TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(deadline - time.monotonic()):
        return await loop.run_in_executor(pool, function, *given)


async def _leaves(request: Request) -> None:
    """Return once the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
