"""An engine that loses shards."""

from collections.abc import Iterator, Sequence
from typing import Literal

from blip.capfilt.engine.local import InlineEngine
from blip.capfilt.engine.protocol import Failed
from blip.capfilt.shards.source import ShardTask


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
