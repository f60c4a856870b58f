"""Bootstrap intervals: a case that can be counted by hand, and what must always hold."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.metrics import intervals
from blip.metrics.intervals import find_intervals, shares


def _share(values: list[float], below: list[float] | None = None):
    return shares({"share": (np.array(values), np.array(below or [1.0] * len(values)))})


def test_the_interval_of_a_coin_is_that_of_the_binomial_distribution() -> None:
    """Of 20 images 10 are hits: the hits of a sample are binomial (20, 1/2), of which 2.5 % lie
    below 6 (2.07 %) or at 6 (5.77 %), and 2.5 % above 14 or at it.
    """
    below_six = sum(comb(20, hits) for hits in range(6)) / 2**20
    assert below_six < 0.025 < below_six + comb(20, 6) / 2**20
    found = find_intervals(_share([1.0, 0.0] * 10), 20, resamples=20_000)["share"]
    assert found == (50.0, 30.0, 70.0)


def test_two_images_by_hand() -> None:
    """Samples of (1, 0) have 0, 1 or 2 hits with the chances 1/4, 1/2, 1/4."""
    statistic = _share([1.0, 0.0])
    wide = find_intervals(statistic, 2, resamples=4000)["share"]
    narrow = find_intervals(statistic, 2, resamples=4000, level=0.4)["share"]
    assert wide == (50.0, 0.0, 100.0)
    assert narrow == (50.0, 50.0, 50.0)


def test_what_belongs_to_an_image_comes_and_goes_with_it() -> None:
    """A hundred texts of one image are one draw, not a hundred: the interval is all or nothing."""
    found = find_intervals(_share([100.0, 0.0], [100.0, 100.0]), 2)["share"]
    assert found == (50.0, 0.0, 100.0)


def test_a_share_of_nothing_is_undefined_and_its_samples_do_not_count() -> None:
    nothing = find_intervals(_share([0.0, 0.0], [0.0, 0.0]), 2)["share"]
    assert np.isnan(nothing).all()
    # The first image alone has something: samples without it say nothing.
    assert find_intervals(_share([1.0, 0.0], [1.0, 0.0]), 2)["share"] == (100.0, 100.0, 100.0)


def test_samples_drawn_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    statistic = _share([0.1 * i for i in range(11)])
    whole = find_intervals(statistic, 11, resamples=300, seed=5)
    monkeypatch.setattr(intervals, "NUMBERS_AT_A_TIME", 11 * 7)
    assert find_intervals(statistic, 11, resamples=300, seed=5) == whole
    assert find_intervals(statistic, 11, resamples=300, seed=6) != whole


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 2**32))
def test_the_interval_lies_within_the_values_and_holds_the_mean_of_equal_ones(
    values: list[float], seed: int
) -> None:
    found = find_intervals(_share(values), len(values), resamples=50, seed=seed)["share"]
    assert found.value == pytest.approx(100.0 * np.mean(values))
    assert 100 * min(values) - 1e-6 <= found.low <= found.high <= 100 * max(values) + 1e-6
    assert find_intervals(_share(values), len(values), resamples=50, seed=seed)["share"] == found
