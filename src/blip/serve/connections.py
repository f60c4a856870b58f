"""Connections on which a request must begin within some seconds, so that slow ones do not pile up.

uvicorn waits without end for the headers of a request. Their size it bounds itself, but only with
h11: its faster parser, which it prefers where it is installed, takes headers of any size.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS_FOR_HEADERS = 20.0


class Connection(H11Protocol):
    """HTTP on one connection."""

    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Read what has come: a part of the headers, or of the body."""
        super().data_received(data)
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._wait_no_longer()
        super().connection_lost(exc)

    @property
    def _headers_came(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_headers(self) -> None:
        if self._headers_came:
            self._wait_no_longer()
        elif self._giving_up is None:
            self._giving_up = self.loop.call_later(SECONDS_FOR_HEADERS, self._give_up)

    def _wait_no_longer(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        self._giving_up = None
        if not self._headers_came:
            self.transport.close()
