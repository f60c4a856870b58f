"""The switch for all kernels: with BLIP_KERNELS=off the model runs on plain torch.

Results differ by rounding. Use it for comparisons, for machines where a kernel does not work, and
to export the model.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from blip.errors import UsageError

VARIABLE = "BLIP_KERNELS"


def _read_environment() -> bool:
    value = os.environ.get(VARIABLE, "on")
    if value not in ("on", "off"):
        raise UsageError(f"{VARIABLE} must be on or off, got {value!r}")
    return value == "on"


_enabled = _read_environment()


def kernels_enabled() -> bool:
    """Whether kernels may be used; torch computes what no kernel fits."""
    return _enabled


@contextmanager
def kernels(enabled: bool) -> Iterator[None]:
    """Turn all kernels on or off within a block."""
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before
