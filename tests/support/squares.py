"""A worker that squares numbers and fails as they say; processes import it without torch."""

import os
import signal
import time
from collections.abc import Generator
from dataclasses import dataclass

from blip.capfilt.engine.protocol import Done, EveryItemError
from blip.errors import UsageError


@dataclass(frozen=True)
class Squares:
    """A worker that squares numbers, some of which make it fail or die."""

    def __call__(self, item: int) -> Generator[str, None, tuple[int, int]]:
        yield f"begin {item}"
        if item < 0:
            raise ValueError("negative\nnumber")
        if item == 99:
            raise EveryItemError("the disk is full")
        if item == 66:
            os.kill(os.getpid(), signal.SIGKILL)
        if item == 55:
            time.sleep(600)
        return item * item, os.getpid()


def make_worker(place: int) -> Squares:
    return Squares()


def refuse(place: int) -> Squares:
    raise UsageError("no such checkpoint")


def results(outcomes) -> dict[int, int]:
    return {o.item: o.result[0] for o in outcomes if isinstance(o, Done)}
