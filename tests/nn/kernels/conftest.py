"""Kernels are on where they are tested, whatever BLIP_KERNELS says."""

from collections.abc import Iterator

import pytest

from blip.nn.kernels.switch import kernels


@pytest.fixture(autouse=True)
def kernels_on() -> Iterator[None]:
    with kernels(True):
        yield
