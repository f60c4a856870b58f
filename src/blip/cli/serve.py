"""`blip serve`: captions, matches, answers and search over HTTP."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from blip.cli.from_dataclass import Options
from blip.cli.options import ModelOptions
from blip.config.ranges import NOT_EMPTY, PLACE, PROCESSES, Range, RangeError, check_fields
from blip.serve.config import ServiceConfig

if TYPE_CHECKING:
    from socket import socket

    from blip.serve.models import Functionality
    from blip.serve.sources import Sources

EXAMPLES = """\
examples:
  blip serve runs/demo/round-1/captioner --filter runs/demo/round-1/filter
  blip serve runs/captioner runs/vqa --filter runs/filter --index photos.index
  blip serve hf:Salesforce/blip-image-captioning-base --port 9000
  blip serve runs/captioner --host 0.0.0.0 --hosts captions.example.org
  blip serve runs/captioner --engine ray --replicas 4 --ray-address auto

Needs the extra `serve`, and with --engine ray the extra `ray-serve`. Its address is a page to try
it, and an API. Each functionality is served by the first checkpoint that can do it: caption, match,
ask, features, attention, and search with --index. A captioner can match, too, but a filter was
fine-tuned for it. /openapi.json describes the requests, /metrics is for Prometheus. SIGTERM and
Ctrl-C stop it once what is being answered has been answered. It knows no users and no passwords:
beyond this machine, put it behind a proxy that does."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine, by which alone it may be reached where it listens there: the page of
another site cannot ask it under a name of its own (DNS rebinding)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """Options of `blip serve`."""

    checkpoint: Annotated[tuple[str, ...], PLACE]
    """Checkpoints or run folders."""
    filter: Annotated[str | None, PLACE] = None
    """Checkpoint that matches and gives features, even if another checkpoint could."""
    index: Annotated[str | None, PLACE] = None
    """Folder of an index to search in."""
    host: Annotated[str, NOT_EMPTY] = "127.0.0.1"
    """Address at which it listens; 0.0.0.0 for all of this machine."""
    port: Annotated[int, Range(whole=True, least=0, most=65535)] = 8000
    """Port at which it listens; 0 for any that is free."""
    hosts: Annotated[tuple[str, ...], NOT_EMPTY] = ()
    """Other names by which a browser may reach it, such as a proxy's."""
    engine: Literal["local", "ray"] = "local"
    """This process, or replicas on Ray Serve."""
    replicas: Annotated[int | None, Range(whole=True, least=1, most=PROCESSES.most)] = None
    """Processes on Ray that answer, each with its own models and its own queue; none is 1."""
    ray_address: Annotated[str | None, NOT_EMPTY] = None
    """Address of a running Ray cluster, HOST:PORT or auto; none starts one on this machine."""
    gpus_per_replica: Annotated[float | None, Range(least=0, most=1024)] = None
    """GPUs of each replica on Ray, such as 0.5; none is 1 where there are GPUs."""
    json: bool = False
    """Print the address and what is served as JSON, once it serves."""
    service: ServiceConfig = ServiceConfig()
    model: ModelOptions = ModelOptions()

    def __post_init__(self) -> None:
        """Refuse numbers out of range, and what only Ray uses without it."""
        check_fields(self)
        for name in ("replicas", "ray_address", "gpus_per_replica"):
            if self.engine != "ray" and getattr(self, name) is not None:
                raise RangeError(name, getattr(self, name), f"none, with engine {self.engine}")


OPTIONS = Options(
    of=ServeOptions,
    arguments=("checkpoint",),
    groups={
        "what is allowed": ("service",),
        "on Ray": ("engine", "replicas", "ray_address", "gpus_per_replica"),
    },
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    from blip.errors import INTERRUPTED, StoppedError
    from blip.installed import need

    options = OPTIONS.read(args)
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        need(module, module, "serve")
    if options.engine == "ray":
        need("ray.serve", "Ray Serve", "ray-serve")
    from blip.serve import run as server
    from blip.serve.hosts import check_hosts
    from blip.serve.sources import Sources

    check_hosts(options.hosts)
    bound = server.bind(options.host, options.port)
    try:
        sources = Sources(
            checkpoints=options.checkpoint,
            filter=options.filter,
            index=options.index,
            device=options.model.device,
            precision=options.model.precision,
            max_pixels=options.model.max_pixels,
        )
        serve = _serve_on_ray if options.engine == "ray" else _serve_here
        serve(options, sources, bound)
    except KeyboardInterrupt as stop:
        raise StoppedError(server.STOPPED, status=INTERRUPTED) from stop
    finally:
        bound.close()
    return 0


def _serve_here(options: ServeOptions, sources: "Sources", bound: "socket") -> None:
    from blip.serve import run as server
    from blip.serve.app import make_app

    models = sources.open()
    _announce(options, models.can(), server.address_of(bound))
    app = make_app(models, options.service, hosts=allowed_hosts(options))
    server.run(app, bound, options.service.deadline)


def _serve_on_ray(options: ServeOptions, sources: "Sources", bound: "socket") -> None:
    from blip.processes import stop_on_sigterm
    from blip.serve import run as server
    from blip.serve.ray import Place, Replicas

    address, port = server.address_of(bound), bound.getsockname()[1]
    # Ray's own process is to listen there.
    bound.close()
    place = Place(
        replicas=options.replicas or 1,
        address=options.ray_address,
        gpus=options.gpus_per_replica,
    )
    replicas = Replicas(sources, options.service, allowed_hosts(options), place)
    try:
        can = replicas.start(options.host, port)
        # Ray has a handler of its own since it was started.
        with stop_on_sigterm(server.STOPPED):
            _announce(options, can, address)
            replicas.wait()
    finally:
        replicas.stop()


def _announce(options: ServeOptions, can: "Mapping[Functionality, str]", address: str) -> None:
    """Print what is served and where."""
    from blip.cli.rows import print_json
    from blip.log import say

    for job, source in can.items():
        say(f"{job}: {source}")
    say(f"serving at {address}; Ctrl-C stops it")
    if options.json:
        print_json({"address": address, "can": {**can}})


def allowed_hosts(options: ServeOptions) -> tuple[str, ...]:
    """The names in the header `Host` that are answered."""
    is_loopback = options.host in LOOPBACK or options.host.startswith("127.")
    if not is_loopback and not options.hosts:
        return ("*",)
    return (*LOOPBACK, options.host, *options.hosts)
