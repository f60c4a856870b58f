"""Which example comes at which position of an endless sequence over weighted sources."""

import numpy as np

from blip.errors import ArgumentError


class Mixture:
    """Positions to examples: every epoch holds each `weight` times, in an order of its own.

    A weight's whole part gives every example as often; its fraction gives that share of the
    examples once more, drawn anew in each epoch.
    """

    def __init__(self, sizes: list[int], weights: list[float], seed: int) -> None:
        self.sizes, self.weights, self.seed = sizes, weights, seed
        self.counts = [round(size * weight) for size, weight in zip(sizes, weights, strict=True)]
        if self.epoch_size < 1:
            raise ArgumentError("the weights of data.sources leave no example in an epoch")
        self._epoch = -1
        self._order = np.empty((0, 2), dtype=np.int64)

    @property
    def epoch_size(self) -> int:
        """Examples in an epoch, repetitions included."""
        return sum(self.counts)

    def at(self, position: int) -> tuple[int, int]:
        """The source and the number of the example within it."""
        epoch, place = divmod(position, self.epoch_size)
        if epoch != self._epoch:
            self._order, self._epoch = self._draw(epoch), epoch
        source, example = self._order[place]
        return int(source), int(example)

    def _draw(self, epoch: int) -> np.ndarray:
        rng = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        parts = []
        for source, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True)):
            whole, rest = divmod(count, size) if size else (0, 0)
            examples = np.concatenate(
                [np.tile(np.arange(size), whole), rng.permutation(size)[:rest]]
            ).astype(np.int64)
            parts.append(np.stack([np.full(len(examples), source), examples], axis=1))
        return rng.permutation(np.concatenate(parts), axis=0)
