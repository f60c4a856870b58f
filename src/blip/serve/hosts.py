"""The names by which a service may be called: a page of another site has one of its own."""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from blip.errors import UsageError

PATTERN = re.compile(r"\*|(\*\.)?[^*/\s]+")


def check_hosts(hosts: Sequence[str]) -> None:
    """Raise UsageError for what cannot be the name of a host."""
    for host in hosts:
        if not PATTERN.fullmatch(host):
            raise UsageError(f"--hosts is {host!r}; allowed: a name, *.NAME, or * for all")


class KnownHosts:
    """Refuses requests whose header `Host` has none of the names.

    Names are `captions.example.org`, `*.example.org` or `*`; that of an IPv6 address has no
    brackets.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        check_hosts(hosts)
        self.app, self.hosts = app, [host.lower() for host in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or answer it with 400."""
        if scope["type"] == "lifespan" or self._knows(_name(Headers(scope=scope).get("host", ""))):
            await self.app(scope, receive, send)
            return
        detail = "this service does not answer to the host in the address; --hosts names others"
        await JSONResponse({"detail": detail}, 400)(scope, receive, send)

    def _knows(self, name: str) -> bool:
        return any(
            host in ("*", name) or (host.startswith("*.") and name.endswith(host[1:]))
            for host in self.hosts
        )


def _name(host: str) -> str:
    """The name in a header `Host`, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
