"""What holds for every test: shapes in signatures are checked, and one thread does the sums."""

import os

import hypothesis
from jaxtyping import install_import_hook

# Before torch is imported. More threads make tiny sums slower, and their order another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CHECKED = ("blip.nn", "blip.model", "blip.objectives", "blip.generation")
"""Packages whose functions are checked against their annotations, shapes included, when called."""

install_import_hook(CHECKED, "beartype.beartype")

# No wall-clock limits, and the same examples in every run.
hypothesis.settings.register_profile("blip", deadline=None, derandomize=True)
hypothesis.settings.load_profile("blip")
