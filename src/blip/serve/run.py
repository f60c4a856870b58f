"""Runs the application by uvicorn, until a signal; what is under way is finished before."""

import logging
import socket

import uvicorn
from starlette.types import ASGIApp

from blip.errors import BlipError, UsageError
from blip.processes import stop_on_sigterm
from blip.serve.connections import connections

STOPPED = "stopped; what was being answered has been answered"
IDLE_SECONDS = 5
"""For which a connection is kept between two requests."""


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, before any model is loaded.

    Raises UsageError for a host that is not this machine's, BlipError for a port that is taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host} is not an address of this machine: {error}") from error
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(1)
    except OSError as error:
        bound.close()
        raise BlipError(
            f"cannot listen at {host}, port {port} ({error.strerror}); choose another one with "
            "--port, or 0 for any"
        ) from error
    return bound


def address_of(bound: socket.socket) -> str:
    """The address to open in a browser."""
    host, port, *_ = bound.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGIApp, bound: socket.socket, deadline: float) -> None:
    """Answer requests until SIGTERM or Ctrl-C; raises StoppedError, or KeyboardInterrupt."""
    with stop_on_sigterm(STOPPED):
        make_server(app, deadline).run(sockets=[bound])


def make_server(app: ASGIApp, deadline: float) -> uvicorn.Server:
    """A server whose clients have `deadline` seconds to take an answer.

    Once stopped, it finishes what is under way within as many.
    """
    # What goes wrong in one request is answered and counted; its traceback is worth a log.
    for library in ("uvicorn", "python_multipart"):
        logging.getLogger(library).setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        # The same ones, whatever else is installed.
        http=connections(deadline),
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=round(deadline) + 1,
    )
    return uvicorn.Server(config)
