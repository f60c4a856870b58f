"""Which sample of which shard comes at a position of an endless stream: arithmetic on counts."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from blip.errors import ArgumentError

EPOCHS_KEPT = 2
WINDOWS_KEPT = 2
"""Orders of windows that are kept, for each lane."""


class Place(NamedTuple):
    """A sample of a shard, both by number."""

    shard: int
    sample: int


class Spot(NamedTuple):
    """A position, taken apart."""

    epoch: int
    lane: int
    window: int
    offset: int
    """Within the window."""


class _Epoch(NamedTuple):
    """Pieces of shards, one after the other, in the order of an epoch."""

    shards: np.ndarray
    firsts: np.ndarray
    """The first sample of each piece."""
    ends: np.ndarray
    """How many samples come in the pieces up to and with each."""


class StreamPositions:
    """Positions to samples. Every epoch holds each sample of a source `weight` times.

    A weight's whole part gives every shard as often; its fraction gives that share of the source's
    samples once more, as whole shards and pieces of two, drawn anew in each epoch. The shards of an
    epoch are put in a row, in an order drawn from the seed and the epoch. The row is divided into
    `lanes` parts of equal length (or one more), which are read side by side: position `p` of an
    epoch belongs to lane `p % lanes`. Within a lane, windows of `window` samples are shuffled. All
    of it depends on the counts and the seed alone, so that any process can begin anywhere.
    """

    def __init__(
        self,
        counts: Sequence[Sequence[int]],
        weights: Sequence[float],
        *,
        lanes: int,
        window: int,
        seed: int,
    ) -> None:
        """`counts[s]` holds the number of samples of each shard of source `s`."""
        self.counts = [np.asarray(of_source, dtype=np.int64) for of_source in counts]
        self.sizes = [int(of_source.sum()) for of_source in self.counts]
        self.shares = [round(n * weight) for n, weight in zip(self.sizes, weights, strict=True)]
        self.lanes, self.window, self.seed = lanes, window, seed
        if self.epoch_size < 1:
            raise ArgumentError("the weights of data.sources leave no sample in an epoch")
        self._rows: OrderedDict[int, _Epoch] = OrderedDict()
        self._windows: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()

    @property
    def epoch_size(self) -> int:
        """Samples in an epoch, repetitions included."""
        return sum(self.shares)

    @property
    def shards_at_a_time(self) -> int:
        """At most how many shards the current windows of all lanes touch, about."""
        pieces = sum(
            np.count_nonzero(counts) * share / size
            for counts, share, size in zip(self.counts, self.shares, self.sizes, strict=True)
            if size
        )
        along = min(self.window, self.lane_length(0))
        # A window begins and ends within shards.
        return self.lanes * (math.ceil(along * pieces / self.epoch_size) + 1) + 2

    def spot(self, position: int) -> Spot:
        """The epoch, lane, window and offset of a position of the stream."""
        epoch, within = divmod(position, self.epoch_size)
        lane, window, offset = within % self.lanes, *divmod(within // self.lanes, self.window)
        return Spot(epoch, lane, window, offset)

    def at(self, position: int) -> Place:
        """The sample at a position of the stream."""
        return self.place(self.spot(position))

    def place(self, spot: Spot) -> Place:
        """The sample at a spot."""
        order = self._window_order(spot.epoch, spot.lane, spot.window)
        along = spot.window * self.window + int(order[spot.offset])
        return self._in_row(spot.epoch, self._lane_start(spot.lane) + along)

    def shards_of(self, spot: Spot) -> list[int]:
        """The shards of a spot's window."""
        first = spot.window * self.window
        last = min(first + self.window, self.lane_length(spot.lane)) - 1
        if last < first:
            return []
        row, start = self._row(spot.epoch), self._lane_start(spot.lane)
        pieces = np.searchsorted(row.ends, [start + first, start + last], side="right")
        return row.shards[pieces[0] : pieces[1] + 1].tolist()

    def next_window(self, spot: Spot) -> Spot:
        """The start of the window after a spot's in its lane; after the last, of the next epoch."""
        if (spot.window + 1) * self.window < self.lane_length(spot.lane):
            return spot._replace(window=spot.window + 1, offset=0)
        return Spot(spot.epoch + 1, spot.lane, 0, 0)

    def substitute(self, position: int, attempt: int) -> Place:
        """Another sample for a position whose own cannot be used: of the same window, if it can be.

        Attempts 0 to 7 draw from the window, up to 15 from the lane, later ones from the epoch.
        """
        spot = self.spot(position)
        rng = np.random.Generator(np.random.PCG64([self.seed, position, attempt]))
        length = self.lane_length(spot.lane)
        if attempt < 8:
            size = min(self.window, length - spot.window * self.window)
            return self.place(spot._replace(offset=int(rng.integers(size))))
        if attempt < 16:
            along = self._lane_start(spot.lane) + int(rng.integers(length))
            return self._in_row(spot.epoch, along)
        return self._in_row(spot.epoch, int(rng.integers(self.epoch_size)))

    def lane_length(self, lane: int) -> int:
        """Samples of a lane in an epoch."""
        whole, rest = divmod(self.epoch_size, self.lanes)
        return whole + (lane < rest)

    def _lane_start(self, lane: int) -> int:
        whole, rest = divmod(self.epoch_size, self.lanes)
        return whole * lane + min(lane, rest)

    def _in_row(self, epoch: int, along: int) -> Place:
        row = self._row(epoch)
        piece = int(np.searchsorted(row.ends, along, side="right"))
        before = int(row.ends[piece - 1]) if piece else 0
        return Place(int(row.shards[piece]), int(row.firsts[piece]) + along - before)

    def _row(self, epoch: int) -> _Epoch:
        row = self._rows.get(epoch)
        if row is None:
            row = self._rows[epoch] = self._draw(epoch)
            while len(self._rows) > EPOCHS_KEPT:
                self._rows.popitem(last=False)
        return row

    def _draw(self, epoch: int) -> _Epoch:
        rng = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        pieces, first_shard = [], 0
        for counts, size, share in zip(self.counts, self.sizes, self.shares, strict=True):
            numbers = np.arange(first_shard, first_shard + len(counts))
            first_shard += len(counts)
            whole, rest = divmod(share, size) if size else (0, 0)
            for _ in range(whole):
                pieces.append(np.stack([numbers, np.zeros_like(counts), counts]))
            if rest:
                pieces.append(_share_of(numbers, counts, rest, rng))
        shards, firsts, lengths = np.concatenate(pieces, axis=1)
        order = rng.permutation(np.flatnonzero(lengths))
        return _Epoch(shards[order], firsts[order], np.cumsum(lengths[order]))

    def _window_order(self, epoch: int, lane: int, window: int) -> np.ndarray:
        key = (epoch, lane, window)
        order = self._windows.get(key)
        if order is None:
            size = min(self.window, self.lane_length(lane) - window * self.window)
            rng = np.random.Generator(np.random.PCG64([self.seed, *key]))
            order = self._windows[key] = rng.permutation(size)
            while len(self._windows) > WINDOWS_KEPT * self.lanes:
                self._windows.popitem(last=False)
        return order


def _share_of(
    numbers: np.ndarray, counts: np.ndarray, share: int, rng: np.random.Generator
) -> np.ndarray:
    """`share` samples in a row from anywhere in a ring of all shards: each is as likely in it."""
    order = rng.permutation(len(counts))
    ends = np.cumsum(counts[order])
    starts, size = ends - counts[order], int(ends[-1])
    begin = int(rng.integers(size))
    pieces = []
    for low, high in ((begin, min(begin + share, size)), (0, begin + share - size)):
        from_, to = np.maximum(starts, low), np.minimum(ends, high)
        touched = to > from_
        pieces.append(np.stack([numbers[order], from_ - starts, to - from_])[:, touched])
    return np.concatenate(pieces, axis=1)
