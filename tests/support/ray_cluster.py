"""A Ray cluster of two CPUs on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ray_cluster(gpus: int = 0) -> Iterator[None]:
    """With as many GPUs as Ray is to believe in."""
    import ray

    ray.init(
        "local",
        num_cpus=2,
        num_gpus=gpus,
        include_dashboard=False,
        object_store_memory=128 << 20,
        logging_level="ERROR",
        log_to_driver=False,
    )
    try:
        yield
    finally:
        ray.shutdown()
