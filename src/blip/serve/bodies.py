"""The body of a request: received within limits, then read as JSON or as a form."""

import asyncio
import base64
import binascii
import functools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

from blip.errors import plain
from blip.serve.config import MEGABYTE, ServiceConfig
from blip.serve.schemas import form_schema

Fields = TypeVar("Fields", bound=BaseModel)
IMAGE = "image"
MAX_FIELDS = 1200
DRAINED_SECONDS, DRAINED_BODIES = 5.0, 10
"""A refused body is received and thrown away, up to this time and so many times the allowed size:
a client that is still sending would otherwise not read why it was refused."""


@dataclass(frozen=True, slots=True)
class Received:
    """The fields of a request, and the bytes of its picture if it has one."""

    fields: Any
    image: bytes | None


class Receiver:
    """Receives bodies; what they take together is bounded."""

    def __init__(self, config: ServiceConfig) -> None:
        self.most = int(config.max_body * MEGABYTE)
        self.room = int(config.max_bodies * MEGABYTE)
        self.held = 0

    @asynccontextmanager
    async def receive(
        self, request: Request, schema: type[Fields], deadline: float
    ) -> AsyncIterator[Received]:
        """The request, read as `schema`; its bytes count as held within the block.

        Raises HTTPException: 408, 413, 415 or 422 for what is wrong, 429 where too much is held.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "multipart/form-data"):
            await drain(request, self.most)
            raise HTTPException(415, "send application/json, or multipart/form-data with a file")
        chunks = list[bytes]()
        held = 0
        try:
            async with _within(deadline):
                await self._check_length(request)
                async for chunk in request.stream():
                    held += len(chunk)
                    self.held += len(chunk)
                    chunks.append(chunk)
                    if held > self.most or self.held > self.room:
                        chunks.clear()
                        await self._refuse(request, held)
                body = b"".join(chunks)
                chunks.clear()
                if kind == "application/json":
                    received = _read_json(body, schema)
                else:
                    received = await _read_form(request, body, schema, self.most)
            yield received
        finally:
            self.held -= held

    async def _check_length(self, request: Request) -> None:
        """Refuse by its header what is too large, before it is sent."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and len(length) < 20 and int(length) > self.most:
            await self._refuse(request, int(length))

    async def _refuse(self, request: Request, size: int) -> None:
        await drain(request, self.most)
        if size > self.most:
            raise HTTPException(413, f"a request may have {self.most} bytes at most")
        raise HTTPException(
            429, "too many requests are being received; try again", {"Retry-After": "1"}
        )


@asynccontextmanager
async def _within(deadline: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError as error:
        raise HTTPException(408, "the request did not come in time") from error


async def drain(request: Request, most: int) -> None:
    """Receive what is left of a body that is refused, within limits."""
    # Who waits for leave to send will not send it after a refusal.
    if "100-continue" in request.headers.get("expect", "").lower():
        return
    left = DRAINED_BODIES * most
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            while left > 0:
                message = await request.receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _read_json(body: bytes, schema: type[Fields]) -> Received:
    try:
        fields = schema.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise HTTPException(422, describe(error)) from error
    text = getattr(fields, IMAGE, None)
    return Received(fields, None if text is None else _decode(text))


def _decode(text: str) -> bytes:
    if "://" in text[:16]:
        raise HTTPException(422, "`image` must be base64, or a file in a form; no address")
    if text.startswith("data:"):
        raise HTTPException(422, "`image` must be base64 alone: leave out all up to the comma")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(422, f"`image` is not base64: {error}") from error


async def _read_form(request: Request, body: bytes, schema: type[Fields], most: int) -> Received:
    async def replay() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        again = Request(request.scope, replay)
        async with again.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=most) as form:
            values: dict[str, Any] = {}
            for name in form:
                found = form.getlist(name)
                if len(found) > 1 and name not in _lists(schema):
                    raise HTTPException(422, f"`{plain(name)[:80]}` is there twice")
                values[name] = found if name in _lists(schema) else found[0]
            file = values.pop(IMAGE, None)
            image = await file.read() if isinstance(file, UploadFile) else None
    # Starlette's, for what it cannot parse, is no HTTPException of FastAPI.
    except AnyHTTPException as error:
        raise HTTPException(422, f"the form cannot be read: {error.detail}") from error
    except ClientDisconnect:
        raise
    # The parsers of forms and of their encodings raise whatever they stumble over.
    except Exception as error:
        raise HTTPException(422, f"the form cannot be read: {plain(str(error))}") from error
    if file is not None and image is None:
        raise HTTPException(422, "`image` must be a file in a form")
    if image is not None:
        # Checked as a text that stands for it: its bytes are decoded later.
        values[IMAGE] = "file"
    try:
        return Received(schema.model_validate(values), image)
    except ValidationError as error:
        raise HTTPException(422, describe(error)) from error


@functools.cache
def _lists(schema: type[BaseModel]) -> frozenset[str]:
    """The fields that a form may have several times."""
    properties = form_schema(schema)["properties"].items()
    return frozenset(name for name, value in properties if value.get("type") == "array")


def describe(error: ValidationError) -> str:
    """The first thing that is wrong, in one line, without the value: it may be a whole picture."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = f"`{plain(name)[:80]}`: " if name else ""
    return f"{where}{plain(first['msg'])[:300]}{more}"
