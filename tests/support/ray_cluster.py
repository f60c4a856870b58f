"""A Ray cluster of two CPUs on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ray_cluster(gpus: int = 0) -> Iterator[None]:
    """With as many GPUs as Ray is to believe in."""
    import ray

    # By default its workers give way to every other process, and on a busy machine tests wait.
    os.environ.setdefault("RAY_worker_niceness", "0")
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
