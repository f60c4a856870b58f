"""What holds for every test: shapes in signatures are checked, examples are drawn alike."""

import os

from hypothesis import settings
from jaxtyping import install_import_hook

# Before torch is imported, and for the processes that tests start: on tiny sums more threads cost.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Functions of these packages are checked against their annotations when tests call them.
install_import_hook(
    ["blip.nn", "blip.model", "blip.objectives", "blip.generation"], "beartype.beartype"
)

# A busy machine is no failure, and every run draws the same examples.
settings.register_profile("blip", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile("blip")
