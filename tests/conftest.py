"""What holds for every test: shapes in signatures are checked, examples are drawn alike."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

from tests.support.forked import forks_for_spawns, import_before_forks

# Before torch is imported, and for the processes that tests start: on tiny sums more threads cost.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Functions of these packages are checked against their annotations when tests call them.
install_import_hook(
    ["blip.nn", "blip.model", "blip.objectives", "blip.generation"], "beartype.beartype"
)

# A busy machine is no failure, and every run draws the same examples.
settings.register_profile("blip", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile("blip")

import_before_forks()


@pytest.fixture
def forked_workers() -> Iterator[None]:
    """Workers on this machine are forked from a process that has imported torch already."""
    with forks_for_spawns():
        yield
