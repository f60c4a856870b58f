"""Rows from small sets, whose compressed pictures stay in memory; the unit is the pair."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from PIL import Image

from blip.data.captions import clean_caption
from blip.data.config import DataConfig
from blip.data.images import decode_image
from blip.data.order.mixture import Mixture
from blip.data.order.pair_index import PairIndex, decode_small
from blip.data.order.rows import Row
from blip.data.readers.archive import Fault
from blip.data.transforms import eval_pixels, train_pixels
from blip.errors import BlipError
from blip.files import fingerprint_json
from blip.log import say

MEMORY_BYTES = 2 << 30
"""Sets that are larger together are streamed: each process holds what is not."""
CACHE_BYTES = 2 << 30
"""Most memory for decoded pictures."""


@final
class MemoryRows:
    """Every text of every image is a row of an epoch; bad samples are found and left out before."""

    def __init__(self, config: DataConfig) -> None:
        """Read all sources through. Raises BlipError where no sound pair is in them."""
        self.config = config
        self.indices: list[PairIndex] = []
        for source in config.sources:
            first_id = self.indices[-1].next_id if self.indices else 0
            held = sum(index.held_bytes for index in self.indices)
            most = MEMORY_BYTES - held if config.stream == "auto" else None
            self.indices.append(
                PairIndex.open(source.shards, first_id, config.image.max_pixels, most)
            )
        for source, index in zip(config.sources, self.indices, strict=True):
            if not len(index):
                reasons = ", ".join(f"{reason} {count}" for reason, count in index.bad.items())
                say(f"source {source.name} has no sound pair: {reasons or 'it is empty'}")
        if not any(map(len, self.indices)):
            raise BlipError("no sound pair to train on")
        self.mixture = Mixture(
            [len(index) for index in self.indices],
            [source.weight for source in config.sources],
            config.seed,
        )
        self.cache: dict[tuple[int, int], np.ndarray] = {}
        self.cached_bytes = 0

    @property
    def size(self) -> int:
        """Pairs."""
        return sum(self.mixture.sizes)

    @property
    def order_fingerprint(self) -> str:
        """Of the pairs' numbers, weights and seed."""
        mixture = self.mixture
        return fingerprint_json(["memory", mixture.sizes, mixture.counts, mixture.seed])

    @property
    def epoch_size(self) -> int:
        """Pairs in an epoch, repetitions included."""
        return self.mixture.epoch_size

    def rows(self, positions: Sequence[int]) -> tuple[list[Row], list[Fault]]:
        """The rows at some positions; there are no bad ones among them."""
        return [self._row(*self.mixture.at(position), position) for position in positions], []

    def _row(self, source: int, pair: int, position: int) -> Row:
        index = self.indices[source]
        picture = index.picture_of_text[pair]
        return Row(
            pixels=self._pixels(source, picture, position),
            text=self.config.prompt + clean_caption(index.texts[pair]),
            image_id=index.pictures[picture].image_id,
            key=index.keys[picture],
        )

    def _pixels(self, source: int, picture: int, position: int) -> np.ndarray:
        image = self.config.image
        if image.plain:
            return self._cached(source, picture)
        rng = np.random.Generator(np.random.PCG64([self.config.seed, position]))
        return train_pixels(Image.fromarray(self._cached(source, picture)), image, rng)

    def _cached(self, source: int, picture: int) -> np.ndarray:
        known = self.cache.get((source, picture))
        if known is not None:
            return known
        content, image = self.indices[source].pictures[picture].content, self.config.image
        pixels = (
            eval_pixels(decode_image(content, image.max_pixels), image.size)
            if image.plain
            else decode_small(content, image.size, image.max_pixels)
        )
        if self.cached_bytes + pixels.nbytes <= CACHE_BYTES:
            self.cache[source, picture] = pixels
            self.cached_bytes += pixels.nbytes
        return pixels

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs; it fills a cache of its own."""
        return self.__dict__ | {"cache": {}, "cached_bytes": 0}
