"""An epoch holds every sample as often as it should, whoever reads it and wherever they begin."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blip.data.order.positions import StreamPositions

COUNTS = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=5), min_size=1, max_size=3)
LANES, WINDOWS, SEEDS = st.integers(1, 9), st.integers(1, 12), st.integers(0, 9)


def make(
    counts: list[list[int]],
    weights: list[float] | None = None,
    lanes: int = 4,
    window: int = 5,
    seed: int = 0,
) -> StreamPositions:
    return StreamPositions(
        counts, weights or [1.0] * len(counts), lanes=lanes, window=window, seed=seed
    )


def samples_of(counts: list[list[int]]) -> Counter:
    sizes = [count for of_source in counts for count in of_source]
    return Counter((shard, n) for shard, size in enumerate(sizes) for n in range(size))


@given(counts=COUNTS, lanes=LANES, window=WINDOWS, seed=SEEDS, epoch=st.integers(0, 3))
def test_an_epoch_holds_every_sample_once(
    counts: list[list[int]], lanes: int, window: int, seed: int, epoch: int
) -> None:
    assume(any(map(any, counts)))
    order = make(counts, lanes=lanes, window=window, seed=seed)
    start = epoch * order.epoch_size
    places = [order.at(start + i) for i in range(order.epoch_size)]
    assert Counter(map(tuple, places)) == samples_of(counts)
    # From the middle, as after a restart, and backwards.
    again = make(counts, lanes=lanes, window=window, seed=seed)
    assert [again.at(start + i) for i in reversed(range(order.epoch_size))] == places[::-1]


@given(
    size=st.integers(1, 12),
    shards=st.integers(1, 40),
    lanes=LANES,
    window=st.integers(1, 60),
    seed=SEEDS,
)
def test_windows_side_by_side_lie_in_as_many_shards_as_is_said(
    size: int, shards: int, lanes: int, window: int, seed: int
) -> None:
    order = make([[size] * shards], lanes=lanes, window=window, seed=seed)
    for begin in range(0, order.epoch_size, lanes * window):
        spots = [order.spot(begin + lane) for lane in range(min(lanes, order.epoch_size - begin))]
        touched = {shard for spot in spots for shard in order.shards_of(spot)}
        assert len(touched) <= order.shards_at_a_time <= lanes * (window / size + 2) + 2


def test_large_shards_leave_two_for_each_lane() -> None:
    assert make([[10_000] * 100], lanes=64, window=4096).shards_at_a_time == 2 * 64 + 2
    assert make([[1000] * 1000], lanes=64, window=4096).shards_at_a_time == 6 * 64 + 2


@given(
    counts=COUNTS,
    weights=st.lists(st.floats(0, 3), min_size=3, max_size=3),
    seed=SEEDS,
)
def test_weights_repeat_samples_evenly(
    counts: list[list[int]], weights: list[float], seed: int
) -> None:
    weights = weights[: len(counts)]
    sizes = [sum(of_source) for of_source in counts]
    assume(sum(round(n * w) for n, w in zip(sizes, weights, strict=True)) > 0)
    order = make(counts, weights, seed=seed)
    seen = Counter(tuple(order.at(i)) for i in range(order.epoch_size))
    first_shard = 0
    for of_source, size, weight in zip(counts, sizes, weights, strict=True):
        of_this = [
            seen[first_shard + shard, n] for shard, k in enumerate(of_source) for n in range(k)
        ]
        first_shard += len(of_source)
        assert sum(of_this) == round(size * weight)
        assert not of_this or max(of_this) - min(of_this) <= 1


@given(
    counts=COUNTS,
    batches=st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 6]), st.integers(1, 4)), min_size=1),
    lanes=LANES,
    seed=SEEDS,
)
def test_cuts_and_other_ranks_lose_nothing_and_repeat_nothing(
    counts: list[list[int]], batches: list[tuple[int, int]], lanes: int, seed: int
) -> None:
    """Runs of some batches, each under another number of ranks, then one to the epoch's end."""
    assume(any(map(any, counts)))
    batch_size, step, seen = 12, 0, Counter()
    size = make(counts).epoch_size
    runs = [*batches, (2, -(-size // batch_size))]
    for ranks, steps in runs:
        of_ranks = [make(counts, lanes=lanes, seed=seed) for _ in range(ranks)]
        for number in range(step, step + steps):
            for rank, order in enumerate(of_ranks):
                rows = range(number * batch_size + rank, (number + 1) * batch_size, ranks)
                seen.update(tuple(order.at(row)) for row in rows if row < size)
        step += steps
    assert seen == samples_of(counts)


@pytest.mark.parametrize("epoch_remainder", [0, 1])
def test_ranks_that_divide_the_lanes_read_lanes_of_their_own(epoch_remainder: int) -> None:
    order = make([[40] * 10 + [epoch_remainder]], lanes=8, window=10)
    for epoch in range(3):
        start = epoch * order.epoch_size
        lanes = [
            {order.spot(p).lane for p in range(start, start + order.epoch_size) if p % 4 == rank}
            for rank in range(4)
        ]
        assert sum(map(len, lanes)) == len(set.union(*lanes)) == 8


def test_a_window_touches_few_shards_and_names_them_ahead() -> None:
    order = make([[100] * 50], lanes=5, window=100)
    spot = order.spot(7)
    ahead = set(order.shards_of(order.next_window(spot)))
    assert 1 <= len(ahead) <= 2
    first = 5 * 100 + spot.lane
    assert {order.at(p).shard for p in range(first, first + 500, 5)} == ahead
    last = order.spot(order.epoch_size - 1)
    following = order.next_window(last)
    assert following == (1, last.lane, 0, 0)
    first = order.epoch_size + last.lane
    assert {order.at(p).shard for p in range(first, first + 500, 5)} == set(
        order.shards_of(following)
    )


@given(counts=COUNTS, lanes=LANES, seed=SEEDS, position=st.integers(0, 500))
def test_substitutes_are_samples_of_the_same_epoch(
    counts: list[list[int]], lanes: int, seed: int, position: int
) -> None:
    assume(any(map(any, counts)))
    order, known = make(counts, lanes=lanes, seed=seed), samples_of(counts)
    drawn = [tuple(order.substitute(position, attempt)) for attempt in range(20)]
    assert set(drawn) <= set(known)
    spot = order.spot(position)
    window = {
        tuple(order.place(spot._replace(offset=n)))
        for n in range(min(order.window, order.lane_length(spot.lane) - spot.window * order.window))
    }
    assert set(drawn[:8]) <= window


def test_a_fraction_is_as_likely_to_hold_any_sample() -> None:
    drawn = Counter()
    for seed in range(400):
        order = make([[1, 9, 0, 4]], [0.25], seed=seed)
        drawn.update(tuple(order.at(p)) for p in range(order.epoch_size))
    # round(14 / 4) = 4 of 14 a time: 114 each, and the binomial's deviation is 9.
    assert len(drawn) == 14
    assert np.all(np.abs(np.array(list(drawn.values())) - 400 * 4 / 14) < 40)


def test_millions_of_samples_cost_no_memory() -> None:
    order = make([[10_000] * 12_900], lanes=64, window=4096)
    assert order.epoch_size == 129_000_000
    places = {order.at(p) for p in range(70_000_000, 70_001_000)}
    assert len(places) == 1000


def test_nothing_to_read_is_refused() -> None:
    with pytest.raises(ValueError, match="leave no sample"):
        make([[0, 0]])
