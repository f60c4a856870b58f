"""The engine that a configuration names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import assert_never

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.engine.local import InlineEngine, LocalEngine
from blip.capfilt.engine.protocol import Engine


@contextmanager
def open_engine(
    config: CapFiltConfig, shards: int, default_workers: Callable[[], int]
) -> Iterator[tuple[Engine, int]]:
    """The engine that a configuration names, and how many of its workers `shards` keep busy.

    `default_workers` is asked where a job on this machine names no number.
    """
    match config.engine:
        case "local":
            workers = min(config.workers or default_workers(), shards)
            yield (InlineEngine() if workers == 1 else LocalEngine(workers)), workers
        case "ray":
            from blip.capfilt.engine.ray import RayEngine

            gpus = config.gpus_per_worker
            if gpus is None and config.on_cpus:
                gpus = 0.0
            with RayEngine(config.workers, config.ray_address, gpus) as engine:
                yield engine, min(engine.workers, shards)
        case _ as never:
            assert_never(never)
