"""Connections on which requests begin, and answers are taken, in time: slow ones must not pile up.

uvicorn waits without end for the headers of a request, and for a client to read its answer. The
size of headers it bounds itself, but only with h11: its faster parser, which it prefers where it is
installed, takes headers of any size.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS_FOR_HEADERS = 20.0


class Connection(H11Protocol):
    """HTTP on one connection."""

    seconds_for_answer = 30.0
    """In which the client must take what is sent."""
    _giving_up: asyncio.TimerHandle | None = None
    _aborting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        # So that `pause_writing` is called as soon as there is something that the client does not
        # take, and `resume_writing` once it has taken all.
        transport.set_write_buffer_limits(high=0)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Read what has come: a part of the headers, or of the body."""
        super().data_received(data)
        self._wait_for_headers()

    def pause_writing(self) -> None:
        """Begin to wait for the client to take what is sent."""
        super().pause_writing()
        if self._aborting is None:
            # To close it would mean to wait until all is taken.
            self._aborting = self.loop.call_later(self.seconds_for_answer, self.transport.abort)

    def resume_writing(self) -> None:
        """All is taken."""
        self._wait_for_no_reader()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._wait_no_longer()
        self._wait_for_no_reader()
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

    def _wait_for_no_reader(self) -> None:
        if self._aborting is not None:
            self._aborting.cancel()
            self._aborting = None

    def _give_up(self) -> None:
        self._giving_up = None
        if not self._headers_came:
            self.transport.close()


def connections(deadline: float) -> type[Connection]:
    """The class of connections whose clients take each answer within `deadline` seconds."""

    class OnTime(Connection):
        seconds_for_answer = deadline

    return OnTime
