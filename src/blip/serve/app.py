"""The HTTP application: its addresses, what they take and give, and which error is which status."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blip.errors import ArgumentError, BlipError, UsageError, one_line, plain
from blip.installed import version
from blip.log import printable, say
from blip.serve import endpoints
from blip.serve.batcher import NotBegunError, NotDoneError, QueueFullError
from blip.serve.config import ServiceConfig
from blip.serve.hosts import KnownHosts
from blip.serve.metrics import Metrics
from blip.serve.models import Models, NotServedError
from blip.serve.schemas import Health, ServiceFacts
from blip.serve.service import ClientLeftError, Service

STATIC = Path(__file__).parent / "static"
"""The files of the page."""
FAILED = 500
"""A status for what no request should cause; a line on stderr says what it was."""
CLIENT_LEFT = 499
"""A status that nobody receives; the metrics count it."""
SECURITY = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""Headers of every answer: the page loads nothing from elsewhere."""


def make_app(
    models: Models,
    config: ServiceConfig | None = None,
    *,
    hosts: Sequence[str] = ("*",),
    metrics_of_all: Callable[[], Awaitable[bytes]] | None = None,
) -> FastAPI:
    """The application; `hosts` are the names by which it may be reached, "*" for all.

    `metrics_of_all` gives the metrics where others serve the same address, too.
    """
    service = Service(models, config or ServiceConfig())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    # Its pages of documentation would load scripts from elsewhere.
    app = FastAPI(title="blip", version=version(), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.include_router(endpoints.router)
    _add_page(app)
    _add_operations(app, service, metrics_of_all)
    _add_errors(app)
    app.add_middleware(KnownHosts, hosts=hosts)
    app.add_middleware(_Around, metrics=service.metrics)
    return app


def _add_page(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")


def _add_operations(
    app: FastAPI, service: Service, metrics_of_all: Callable[[], Awaitable[bytes]] | None
) -> None:
    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["operation"], summary="Whether the process is alive")
    async def healthz() -> Health:
        return Health(status="alive")

    @app.head("/readyz", include_in_schema=False)
    @app.get(
        "/readyz",
        tags=["operation"],
        summary="Whether requests are worked on, and there is room for more",
        responses={503: {"model": Health}},
    )
    async def readyz(response: Response) -> Health:
        if not service.batcher.is_running:
            response.status_code = 503
            return Health(status="not running")
        if service.batcher.waiting >= service.config.queue:
            response.status_code = 503
            return Health(status="the queue is full")
        return Health(status="ready")

    @app.get("/metrics", tags=["operation"], summary="Metrics for Prometheus")
    async def metrics() -> Response:
        text = await metrics_of_all() if metrics_of_all else service.metrics.text()
        return Response(text, media_type="text/plain; version=0.0.4")

    @app.get("/v1/service", tags=["operation"], summary="What this service can do")
    async def facts() -> ServiceFacts:
        index = service.models.index
        return ServiceFacts(
            version=version(),
            can={**service.models.can()},
            pictures=None if index is None else len(index),
        )


def _add_errors(app: FastAPI) -> None:
    """Which error is which status, each with one line."""

    def answer(kind: type[Exception], status: int, describe: Callable[[Any], str]) -> None:
        async def handle(request: Request, error: Exception) -> JSONResponse:
            again = error.retry_after if isinstance(error, QueueFullError) else None
            if isinstance(error, NotBegunError):
                again = 1
            headers = {} if again is None else {"Retry-After": str(again)}
            if kind is Exception:
                # Starlette answers these outside of `_Around`.
                headers |= SECURITY
            if status == FAILED:
                say(f"{printable(request.url.path)}: {plain(one_line(error))}")
            return JSONResponse({"detail": plain(describe(error))}, status, headers)

        app.add_exception_handler(kind, handle)

    answer(NotServedError, 404, str)
    answer(QueueFullError, 429, str)
    answer(NotBegunError, 503, lambda _: "the deadline passed before the model was free; try again")
    answer(NotDoneError, 504, str)
    answer(ArgumentError, 422, str)
    answer(UsageError, 422, str)
    answer(BlipError, FAILED, str)
    # Its traceback is for those who run the service.
    answer(Exception, FAILED, lambda _: "the service failed; its log says why")
    answer(ClientLeftError, CLIENT_LEFT, lambda _: "the client has left")
    answer(ClientDisconnect, CLIENT_LEFT, lambda _: "the client has left")


class _Around:
    """Counts requests, and adds the headers of every answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(name.encode(), value.encode()) for name, value in SECURITY.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            # Where another process receives the requests, it cancels those of who has left.
            status = CLIENT_LEFT
            raise
        finally:
            if status == CLIENT_LEFT:
                self.metrics.client_left()
            # Only known paths: whoever asks for others must not fill the memory.
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self.metrics.request_done(path, status, time.monotonic() - begun)
