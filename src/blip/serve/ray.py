"""The same application on Ray Serve: replicas, each with its own models, queue and batches.

Requests are batched by the replica's own batcher and not by `@serve.batch`: that one knows neither
groups of settings nor deadlines, its queue has no bound, and it computes for who has left.
"""

import asyncio
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from blip.errors import BlipError, UsageError, one_line
from blip.installed import missing
from blip.log import say
from blip.processes import usable_cpus
from blip.ray_cluster import describe, join_or_start
from blip.serve.app import make_app
from blip.serve.config import ServiceConfig
from blip.serve.metrics import joined
from blip.serve.models import Functionality
from blip.serve.service import Service
from blip.serve.sources import Sources

try:
    import ray
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.config import HTTPOptions, ProxyLocation
    from ray.serve.exceptions import RayServeException
    from ray.serve.schema import LoggingConfig
except ImportError as _missing:
    raise missing("Ray Serve", "ray-serve", _missing) from _missing

NAME = "blip"
"""Of the application on the cluster, and of its deployment."""
STORE_BYTES = 512 << 20
"""Object store of a cluster that is started here; large bodies and answers pass through it."""
SECONDS_OF_METRICS = 2.0
"""For which a replica waits for the metrics of the others."""
SECONDS_TO_STOP = 20.0
"""For which Ray Serve may take to stop, beyond the deadline of the last request."""
QUIET = LoggingConfig(log_level="ERROR", enable_access_log=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where replicas run, and how many."""

    replicas: int
    address: str | None
    """Of a cluster; None starts one on this machine."""
    gpus: float | None
    """Of each replica; None is 1 where there are GPUs."""


class Replicas:
    """Replicas on a cluster; one that dies is replaced by Ray."""

    def __init__(
        self, sources: Sources, config: ServiceConfig, hosts: tuple[str, ...], place: Place
    ) -> None:
        self._sources, self._config, self._hosts = sources.absolute(), config, hosts
        self._place = place
        self._ours, self._started = not ray.is_initialized(), False

    def start(self, host: str, port: int) -> dict[Functionality, str]:
        """Serve at an address; returns the functionalities, each with the checkpoint that does it.

        Raises what `Sources.open` raises, BlipError where there is no cluster or Ray Serve already
        runs on it, and UsageError where this machine has no room for the replicas.
        """
        place = self._place
        if place.address is None:
            # Refuses at once, and fetches once for all; other machines may have other files.
            self._sources.find()
        cpus = max(1, usable_cpus() // place.replicas)
        if self._ours:
            join_or_start(place.address, cpus * place.replicas, STORE_BYTES)
        for name in ("ray", "ray.serve"):
            logging.getLogger(name).setLevel(logging.ERROR)
        needs = self._needs(1 if place.address else cpus)
        count = f"{place.replicas} replica{'s' if place.replicas > 1 else ''}"
        say(f"ray: starting {count}; a replica needs {describe(needs)}")
        try:
            if serve.status().proxies:
                raise BlipError(
                    "Ray Serve runs on this cluster already, at an address of its own; "
                    "`serve shutdown` stops it"
                )
            self._started = True
            serve.start(
                proxy_location=ProxyLocation.EveryNode,
                http_options=HTTPOptions(host=host, port=port),
                logging_config=QUIET,
            )
            handle = serve.run(self._application(needs), name=NAME, logging_config=QUIET)
            can, problem = handle.can.remote().result()
        except (RayError, RayServeException, RuntimeError, OSError) as error:
            raise BlipError(f"Ray Serve cannot start: {one_line(error)}") from error
        if problem is not None:
            raise problem
        return can

    def wait(self) -> None:
        """Return never; a signal ends it."""
        while True:
            threading.Event().wait(3600)

    def stop(self) -> None:
        """Finish what is under way, stop Ray Serve, and the cluster if it was started here.

        Raises BlipError if that cannot be finished.
        """
        try:
            if self._started and not self._finish():
                raise BlipError("Ray stopped before all open requests were answered")
        finally:
            if self._ours:
                ray.shutdown()

    def _finish(self) -> bool:
        """Whether Ray Serve ends in time; Ray itself would wait for a cluster that is gone."""

        def finish() -> None:
            # Whatever is wrong with the cluster by now, this process is about to end.
            with suppress(RayError, RayServeException, RuntimeError):
                serve.delete(NAME)
                serve.shutdown()

        finishing = threading.Thread(target=finish, daemon=True)
        finishing.start()
        until = time.monotonic() + self._config.deadline + SECONDS_TO_STOP
        while finishing.is_alive() and time.monotonic() < until:
            finishing.join(1.0)
            if not _lives():
                return False
        return not finishing.is_alive()

    def _needs(self, cpus: int) -> dict[str, float]:
        """What a replica needs; raises UsageError if a cluster of this machine lacks it."""
        has, place = ray.cluster_resources(), self._place
        gpus = place.gpus
        if gpus is None:
            gpus = float(has.get("GPU", 0.0) >= 1.0 and self._sources.device != "cpu")
        if place.address is None and gpus * place.replicas > has.get("GPU", 0.0):
            raise UsageError(
                f"{place.replicas} replicas with {gpus:g} GPUs each have no room: this machine has "
                f"{describe(has)}"
            )
        return {"CPU": float(cpus), "GPU": gpus}

    def _application(self, needs: dict[str, float]) -> Any:
        config = self._config
        deployment: Any = serve.deployment(
            _replica(self._sources, config, self._hosts),
            name=NAME,
            num_replicas=self._place.replicas,
            ray_actor_options={"num_cpus": needs["CPU"], "num_gpus": needs["GPU"]},
            # A replica refuses by itself what it has no room for; more than this wait in the proxy.
            max_ongoing_requests=4 * (config.queue + config.batch_size),
            max_queued_requests=config.queue,
            graceful_shutdown_timeout_s=config.deadline + 1,
            graceful_shutdown_wait_loop_s=0.1,
            health_check_period_s=2,
        )
        return deployment.bind()


def _replica(sources: Sources, config: ServiceConfig, hosts: tuple[str, ...]) -> type[Any]:
    """The class of a replica."""

    def build() -> FastAPI:
        try:
            models = sources.open()
        # Ray would try again and again, and report it with a traceback.
        except BlipError as error:
            app = FastAPI()
            app.state.problem = error
            return app

        async def metrics_of_all() -> bytes:
            return await _metrics_of_all(app.state.service)

        app = make_app(models, config, hosts=hosts, metrics_of_all=metrics_of_all)
        app.state.problem = None
        return app

    class Replica:
        """The application in a process of its own."""

        app: FastAPI

        async def can(self) -> tuple[dict[Functionality, str], BlipError | None]:
            """The functionalities, or why there are none."""
            if self.app.state.problem is not None:
                return {}, self.app.state.problem
            return self._service.models.can(), None

        async def metrics(self) -> tuple[str, bytes]:
            """The name of the replica, and its metrics."""
            return _named_metrics(self._service)

        def check_health(self) -> None:
            """Raise where the model's queue is no longer worked on: Ray replaces the replica."""
            if self.app.state.problem is None and not self._service.batcher.is_running:
                raise RuntimeError("the batcher has stopped")

        @property
        def _service(self) -> Service:
            return self.app.state.service

    return serve.ingress(build)(Replica)


def _lives() -> bool:
    """Whether any machine of the cluster still works."""
    try:
        return any(node["Alive"] for node in ray.nodes())
    except (RayError, RuntimeError, OSError):
        return False


def _named_metrics(service: Service) -> tuple[str, bytes]:
    return serve.get_replica_context().replica_id.unique_id, service.metrics.text()


async def _metrics_of_all(own: Service) -> bytes:
    """The metrics of all replicas; those that do not answer in time are left out."""
    everyone = serve.get_deployment_handle(NAME, NAME).broadcast("metrics")
    try:
        found = await everyone.results_async(timeout_s=SECONDS_OF_METRICS, return_exceptions=True)
    except (TimeoutError, RayError, RayServeException):
        found = [_named_metrics(own)]
    return await asyncio.to_thread(joined, [one for one in found if isinstance(one, tuple)])
