"""An engine that loses shards, and a worker that fails as its items say."""

import os
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from blip.capfilt.engine.local import InlineEngine
from blip.capfilt.engine.protocol import Done, EveryItemError, Failed
from blip.capfilt.shards.source import ShardTask
from blip.errors import UsageError


class Flaky:
    """An engine that loses the shards that it is given, as a dead worker would."""

    def __init__(self, losses: Sequence[str], kind: Literal["died", "raised"] = "died") -> None:
        self.losses = list(losses)
        self.kind: Literal["died", "raised"] = kind
        self.begun: list[str] = []

    def run(self, items, make_worker) -> Iterator:
        for item in items:
            assert isinstance(item, ShardTask)
            self.begun.append(item.name)
            if item.name in self.losses:
                self.losses.remove(item.name)
                yield Failed(item, self.kind, "lost")
            else:
                yield from InlineEngine().run([item], make_worker)


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
