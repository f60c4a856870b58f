"""`blip serve`: captions, matches, answers and search over HTTP."""

import argparse
from dataclasses import dataclass
from typing import Annotated

from blip.cli.from_dataclass import Options
from blip.cli.options import ModelOptions
from blip.config.ranges import NOT_EMPTY, PLACE, Range, check_fields
from blip.serve.config import ServiceConfig

EXAMPLES = """\
examples:
  blip serve runs/demo/round-1/captioner --filter runs/demo/round-1/filter
  blip serve runs/captioner runs/vqa --filter runs/filter --index photos.index
  blip serve hf:Salesforce/blip-image-captioning-base --port 9000
  blip serve runs/captioner --host 0.0.0.0 --hosts captions.example.org

Needs the extra `serve`. Its address is a page to try it, and an API. Each functionality is served
by the first checkpoint that can do it: caption, match, ask, features, attention, and search with
--index. A captioner can match, too, but a filter was fine-tuned for it. /openapi.json describes the
requests, /metrics is for Prometheus. SIGTERM and Ctrl-C stop it once what is being answered has
been answered. It knows no users and no passwords: beyond this machine, put it behind a proxy that
does."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine, by which alone it may be reached where it listens there: the page of
another site cannot ask it under a name of its own (DNS rebinding)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """What `blip serve` is asked to do."""

    checkpoint: Annotated[tuple[str, ...], PLACE]
    """Checkpoints or run folders."""
    filter: Annotated[str | None, PLACE] = None
    """Checkpoint that matches and gives features, though another one could."""
    index: Annotated[str | None, PLACE] = None
    """Folder of an index to search in."""
    host: Annotated[str, NOT_EMPTY] = "127.0.0.1"
    """Address at which it listens; 0.0.0.0 for all of this machine."""
    port: Annotated[int, Range(whole=True, least=0, most=65535)] = 8000
    """Port at which it listens; 0 for any that is free."""
    hosts: Annotated[tuple[str, ...], NOT_EMPTY] = ()
    """Other names by which a browser may reach it, such as a proxy's."""
    json: bool = False
    """Print the address and what is served as JSON, once it serves."""
    service: ServiceConfig = ServiceConfig()
    model: ModelOptions = ModelOptions()

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_fields(self)


OPTIONS = Options(
    of=ServeOptions, arguments=("checkpoint",), groups={"what is allowed": ("service",)}
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    from blip.cli.rows import print_json
    from blip.errors import INTERRUPTED, StoppedError, UsageError
    from blip.installed import need

    options = OPTIONS.read(args)
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        need(module, module, "serve")
    from blip.inference.load import load
    from blip.log import say
    from blip.serve import run as server
    from blip.serve.app import make_app
    from blip.serve.models import Models

    bound = server.bind(options.host, options.port)
    try:
        device, precision = options.model.device, options.model.precision
        loaded = [load(source, device, precision=precision) for source in options.checkpoint]
        judge = None
        if options.filter is not None:
            judge = load(options.filter, device, precision=precision)
            # Refused now, where it cannot match.
            _ = judge.matcher
        index, limit = _open_index(options), options.model.max_pixels
        models = Models(loaded, index, limit, filter=judge)
        can = models.can()
        if not can:
            names = ", ".join(options.checkpoint)
            raise UsageError(f"{names} can do none of what `blip serve` offers")
        for job, source in can.items():
            say(f"{job}: {source}")
        address = server.address_of(bound)
        say(f"serving at {address}; Ctrl-C stops it")
        if options.json:
            print_json({"address": address, "can": can})
        app = make_app(models, options.service, hosts=allowed_hosts(options))
        server.run(app, bound, options.service.deadline)
    except KeyboardInterrupt as stop:
        raise StoppedError(server.STOPPED, status=INTERRUPTED) from stop
    finally:
        bound.close()
    return 0


def _open_index(options: ServeOptions):
    if options.index is None:
        return None
    from blip.index.search import Index

    return Index.open(
        options.index,
        device=options.model.device,
        precision=options.model.precision,
        max_pixels=options.model.max_pixels,
    )


def allowed_hosts(options: ServeOptions) -> tuple[str, ...]:
    """The names in the header `Host` that are answered."""
    is_loopback = options.host in LOOPBACK or options.host.startswith("127.")
    if not is_loopback and not options.hosts:
        return ("*",)
    return (*LOOPBACK, options.host, *options.hosts)
