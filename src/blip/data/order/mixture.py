"""Which pair comes at which position of an endless stream over weighted sources."""

import numpy as np


class Mixture:
    """Positions to pairs: every epoch holds each pair `weight` times, in an order of its own.

    A weight's whole part gives every pair as often; its fraction gives that share of the pairs once
    more, drawn anew in each epoch.
    """

    def __init__(self, sizes: list[int], weights: list[float], seed: int) -> None:
        self.sizes, self.weights, self.seed = sizes, weights, seed
        self.counts = [round(size * weight) for size, weight in zip(sizes, weights, strict=True)]
        if self.epoch_size < 1:
            raise ValueError("the sources' weights leave no pair in an epoch")
        self._epoch = -1
        self._order = np.empty((0, 2), dtype=np.int64)

    @property
    def epoch_size(self) -> int:
        """Pairs in an epoch, repetitions included."""
        return sum(self.counts)

    def at(self, position: int) -> tuple[int, int]:
        """The source and the number of the pair within it."""
        epoch, place = divmod(position, self.epoch_size)
        if epoch != self._epoch:
            self._order, self._epoch = self._draw(epoch), epoch
        source, pair = self._order[place]
        return int(source), int(pair)

    def _draw(self, epoch: int) -> np.ndarray:
        rng = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        parts = []
        for source, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True)):
            whole, rest = divmod(count, size) if size else (0, 0)
            pairs = np.concatenate(
                [np.tile(np.arange(size), whole), rng.permutation(size)[:rest]]
            ).astype(np.int64)
            parts.append(np.stack([np.full(len(pairs), source), pairs], axis=1))
        return rng.permutation(np.concatenate(parts), axis=0)
