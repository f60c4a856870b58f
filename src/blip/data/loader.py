"""Batches for training, whose batch `i` depends on `i` alone, and sets for evaluation."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from blip.data.captions import clean_caption
from blip.data.config import DataConfig
from blip.data.images import decode_image
from blip.data.index import PairIndex, decode_small
from blip.data.mixture import Mixture
from blip.data.shards import expand, read_shard
from blip.data.tokenizer import Texts, Tokenizer
from blip.data.transforms import eval_pixels, normalise, train_pixels
from blip.errors import BlipError, UsageError
from blip.log import say

CACHE_BYTES = 2 << 30
"""Most memory for decoded pictures."""


class Batch(NamedTuple):
    """Images and a text for each."""

    images: Float[Tensor, "batch 3 height width"]
    texts: Texts
    image_ids: Int[Tensor, " batch"]
    """Equal for texts of the same image."""
    keys: tuple[str, ...]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(
            self.images.to(device), self.texts.to(device), self.image_ids.to(device), self.keys
        )


class PairLoader:
    """Endless batches over a weighted mixture of sources.

    An epoch holds every pair as often as its source's weight says, in an order drawn from the seed
    and the number of the epoch. Augmentation is drawn from seed, epoch and position. So batch `i`
    is the same whenever and however often it is made, and a run goes on by `batches(start=i)`.

    `config.batch_size` counts the rows of all `ranks` processes that train together; this loader
    makes those of `rank`, every `ranks`-th row from row `rank` on. Raises UsageError where the
    ranks cannot share a batch evenly.
    """

    def __init__(
        self, config: DataConfig, tokenizer: Tokenizer, rank: int = 0, ranks: int = 1
    ) -> None:
        assert 0 <= rank < ranks
        if config.batch_size % ranks:
            raise UsageError(
                f"batch_size must be a multiple of the {ranks} processes, got {config.batch_size}"
            )
        indices: list[PairIndex] = []
        for source in config.sources:
            first_id = indices[-1].next_id if indices else 0
            indices.append(PairIndex.open(source.shards, first_id))
        self.config = config
        for source, index in zip(config.sources, indices, strict=True):
            if not len(index):
                say(f"source {source.name} has no sound pair: {dict(index.bad) or 'it is empty'}")
        if not any(map(len, indices)):
            raise BlipError("no sound pair to train on")
        self.mixture = Mixture(
            [len(index) for index in indices], [s.weight for s in config.sources], config.seed
        )
        self.maker = _BatchMaker(config, tokenizer, indices, self.mixture, rank, ranks)
        self.bad: Counter[str] = sum((index.bad for index in indices), Counter())
        self.bad_samples = [bad for index in indices for bad in index.bad_samples]
        if self.bad:
            counts = ", ".join(f"{reason} {count}" for reason, count in sorted(self.bad.items()))
            say(f"left out of training: {counts}")

    @property
    def num_pairs(self) -> int:
        """Pairs in the sources, each counted once."""
        return sum(self.mixture.sizes)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; what is left over opens the next epoch."""
        return max(1, self.mixture.epoch_size // self.config.batch_size)

    def batches(self, start: int) -> Iterator[Batch]:
        """This process's rows of batches `start`, `start + 1`, ... without end."""
        if self.config.workers == 0:
            number = start
            while True:
                yield self.maker[number]
                number += 1
        loader = DataLoader(
            self.maker,
            batch_size=None,
            sampler=_Counting(start),
            num_workers=self.config.workers,
            multiprocessing_context="forkserver",
            collate_fn=_as_it_is,
        )
        yield from loader


def _as_it_is(batch: Any) -> Any:
    return batch


class _Counting:
    """Numbers without end, for the library's loader to hand out."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        number = self.start
        while True:
            yield number
            number += 1


class _BatchMaker(Dataset[Batch]):
    """Makes batch number `i`, in this process or in a worker."""

    def __init__(
        self,
        config: DataConfig,
        tokenizer: Tokenizer,
        indices: list[PairIndex],
        mixture: Mixture,
        rank: int,
        ranks: int,
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.indices, self.mixture = indices, mixture
        self.rank, self.ranks = rank, ranks
        self.cache: dict[tuple[int, int], np.ndarray] = {}
        self.cached_bytes = 0

    def __getitem__(self, number: int) -> Batch:
        size = self.config.batch_size
        positions = range(number * size + self.rank, (number + 1) * size, self.ranks)
        places = [self.mixture.at(position) for position in positions]
        rows = [
            self._row(source, pair, position)
            for (source, pair), position in zip(places, positions, strict=True)
        ]
        return Batch(
            images=normalise(np.stack([pixels for pixels, _, _, _ in rows])),
            texts=self.tokenizer.encode([text for _, text, _, _ in rows], self.config.max_tokens),
            image_ids=torch.tensor([image_id for _, _, image_id, _ in rows]),
            keys=tuple(key for _, _, _, key in rows),
        )

    def _row(self, source: int, pair: int, position: int) -> tuple[np.ndarray, str, int, str]:
        index = self.indices[source]
        picture = index.picture_of_text[pair]
        text = self.config.prompt + clean_caption(index.texts[pair])
        pixels = self._pixels(source, picture, position)
        return pixels, text, index.pictures[picture].image_id, index.keys[picture]

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
            eval_pixels(decode_image(content), image.size)
            if image.plain
            else decode_small(content, image.size)
        )
        if self.cached_bytes + pixels.nbytes <= CACHE_BYTES:
            self.cache[source, picture] = pixels
            self.cached_bytes += pixels.nbytes
        return pixels

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs; it fills a cache of its own."""
        return self.__dict__ | {"cache": {}, "cached_bytes": 0}


class EvaluationSet:
    """Images with all their texts, in the order of the shards; bad samples are counted."""

    def __init__(self, shards: Iterable[str], image_size: int, *, most: int | None = None) -> None:
        """Read the shards, up to the first `most` sound images."""
        self.image_size = image_size
        self.keys: list[str] = []
        self.texts: list[list[str]] = []
        self.metas: list[dict[str, Any]] = []
        self.bad: Counter[str] = Counter()
        self.contents: list[bytes] = []
        samples = (sample for shard in expand(shards) for sample in read_shard(shard))
        for sample in samples:
            if len(self.keys) == most:
                break
            if sample.error is not None or sample.image is None or not any(sample.texts):
                self.bad[(sample.error or "empty_caption").partition(":")[0]] += 1
                continue
            self.keys.append(sample.key)
            self.texts.append([text for text in sample.texts if text])
            self.metas.append(sample.meta)
            self.contents.append(sample.image)
        if not self.keys:
            raise BlipError(f"no sound sample to evaluate on ({dict(self.bad)})")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.keys)

    def images(self, start: int, stop: int) -> Float[Tensor, "images 3 size size"]:
        """Images `start` to `stop` (not included), ready for a model."""
        pixels = [
            eval_pixels(decode_image(content), self.image_size)
            for content in self.contents[start:stop]
        ]
        return normalise(np.stack(pixels))
