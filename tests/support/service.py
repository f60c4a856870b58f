"""A service within the test's process, and requests to it without a network."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from blip.inference.load import load
from blip.serve.app import make_app
from blip.serve.config import ServiceConfig
from blip.serve.models import Models
from blip.serve.run import address_of, bind, make_server
from blip.serve.service import Service

Result = TypeVar("Result")


def open_models(*checkpoints: Path) -> Models:
    """The models of some checkpoints, on the CPU."""
    return Models([load(checkpoint, "cpu") for checkpoint in checkpoints])


@asynccontextmanager
async def serving(
    models: Models, config: ServiceConfig | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    """A client of a service that runs within the block."""
    app = make_app(models, config)
    service: Service = app.state.service
    transport = httpx.ASGITransport(app)
    async with (
        service.running(),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client, service


def with_service(
    models: Models,
    work: Callable[[httpx.AsyncClient, Service], Awaitable[Result]],
    config: ServiceConfig | None = None,
) -> Result:
    """What `work` returns, which gets a client and the service."""

    async def run() -> Result:
        async with serving(models, config) as (client, service):
            return await asyncio.wait_for(work(client, service), 60)

    return asyncio.run(run())


@contextmanager
def serving_in_thread(models: Models, config: ServiceConfig | None = None) -> Iterator[str]:
    """The address of a service that runs in another thread within the block."""
    server = make_server(make_app(models, config), 5)
    with bind("127.0.0.1", 0) as bound:
        address = address_of(bound)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()


def as_json(picture: bytes, **fields: Any) -> dict[str, Any]:
    """The body of a request with a picture."""
    return {"image": base64.b64encode(picture).decode(), **fields}
