"""What holds for every test: shapes in signatures are checked, examples are drawn alike."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.support import quick_disk, shape_checks
from tests.support.forked import forks_for_spawns, import_before_forks

# What is compiled once is kept, whatever the environment says: tests start processes by the dozen,
# and each would spend a second and a half on compiling the package.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# On tiny sums more threads cost, in this process and in those that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# Compiling in one process saves the start of others that import torch.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
# By default Ray's workers give way to every other process, and tests wait for them.
os.environ.setdefault("RAY_worker_niceness", "0")

# Before the package is imported: functions are checked against their annotations.
shape_checks.install()
quick_disk.install()

# A busy machine is no failure, and every run draws the same examples.
settings.register_profile("blip", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile("blip")

import_before_forks()

LONG = [
    "capfilt/engine/test_ray.py",
    "serve/test_ray.py",
    "parity/test_huggingface.py",
    "house/test_site.py",
    "capfilt/test_job_verb.py",
    "dist/test_parallel.py",
    "dist/test_killed.py",
    "serve/test_page.py",
    "inference/test_static_steps.py",
    "inference/test_static_matching.py",
    "test_bootstrap.py",
    "capfilt/test_job_ray.py",
    "dist/test_torchrun.py",
    "benchmarks/test_capfilt.py",
    "capfilt/report/test_explorer.py",
    "house/test_docs_commands.py",
    "test_jobs.py",
    "capfilt/stages/test_job_rules.py",
    "journeys/test_bootstrap_killed.py",
    "train/test_parallelize.py",
]
"""Files that take longest; `make test` hands out files in the order of collection."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files: those that come last leave other processes idle."""
    first = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


def pytest_collection_finish() -> None:
    """What is imported stays: no search for garbage looks at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def forked_workers() -> Iterator[None]:
    """Workers on this machine are forked from a process that has imported torch already."""
    with forks_for_spawns():
        yield
