"""The one switch of the kernels: with BLIP_KERNELS=off the model runs on plain torch alone.

Results differ by rounding. The switch is for comparisons, for machines that a kernel does not suit,
and for whoever takes the model elsewhere (an export).
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
    """Whether kernels may be used; what none of them fits is left to torch anyway."""
    return _enabled


@contextmanager
def kernels(enabled: bool) -> Iterator[None]:
    """Turn all kernels on or off for a while."""
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before
