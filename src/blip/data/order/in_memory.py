"""The order of small sets, whose samples stay in memory: every example once in an epoch."""

from collections.abc import Sequence
from typing import final

from blip.data.config import DataConfig
from blip.data.faults import BadSamples
from blip.data.order.index import Check, SampleIndex
from blip.data.order.mixture import Mixture
from blip.data.sample import OrderedSample
from blip.errors import BlipError
from blip.files import fingerprint_json
from blip.log import say

MEMORY_BYTES = 2 << 30
"""Sets that are larger together are streamed: each process holds what is not."""


@final
class MemoryOrder:
    """Every example of every sample has a position in an epoch.

    Samples that cannot be used are left out before the first position.
    """

    def __init__(self, config: DataConfig, check: Check, noun: str) -> None:
        """Read all sources through; `noun` is what an example is called in messages.

        Raises BlipError if they hold no example.
        """
        self.indices: list[SampleIndex] = []
        for source in config.sources:
            first_id = self.indices[-1].next_id if self.indices else 0
            held = sum(index.held_bytes for index in self.indices)
            most = MEMORY_BYTES - held if config.stream == "auto" else None
            self.indices.append(SampleIndex.open(source.shards, check, first_id, most))
        self.bad = BadSamples()
        for source, index in zip(config.sources, self.indices, strict=True):
            self.bad.update(index.bad)
            if not index.size:
                reasons = index.bad.describe() or "it is empty"
                say(f"source {source.name} has no usable {noun}: {reasons}")
        sizes = [index.size for index in self.indices]
        if not any(sizes):
            raise BlipError(f"no usable {noun} to train on")
        self.mixture = Mixture(sizes, [source.weight for source in config.sources], config.seed)

    @property
    def size(self) -> int:
        """Examples in all sources, each counted once."""
        return sum(self.mixture.sizes)

    @property
    def epoch_size(self) -> int:
        """Examples in an epoch, repetitions included."""
        return self.mixture.epoch_size

    @property
    def fingerprint(self) -> str:
        """Of the samples, their weights and the seed."""
        contents = [index.content.hex() for index in self.indices]
        return fingerprint_json([self.former_fingerprint, contents])

    @property
    def former_fingerprint(self) -> str:
        """The fingerprint of earlier versions: of the examples' numbers, weights and seed."""
        mixture = self.mixture
        return fingerprint_json(["memory", mixture.sizes, mixture.counts, mixture.seed])

    def prepare(self, positions: Sequence[int]) -> None:
        """Nothing is to be fetched."""

    def at(self, position: int, attempt: int = 0) -> OrderedSample:
        """The sample at a position, with the number of its example; the same for all attempts."""
        source, example = self.mixture.at(position)
        index = self.indices[source]
        place, number = index.locate(example)
        return OrderedSample(
            index.samples[place],
            shard="",
            image_id=index.image_ids[place],
            number=number,
            cache_key=(source, place),
        )
