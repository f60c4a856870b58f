"""Spreads and intervals, beside hand-worked and simulated ones."""

import numpy as np
import pytest

from experiments.spread import over_seeds, resample


def test_over_seeds_by_hand() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    assert (found["mean"], found["deviation"]) == (2.0, 1.0)
    assert (found["least"], found["greatest"]) == (1.0, 3.0)
    # Student's t with two degrees of freedom.
    assert found["within"] == pytest.approx(4.303 / 3**0.5)
    assert "within" not in over_seeds([1.0])


def test_an_interval_is_that_of_independent_values() -> None:
    values = np.random.default_rng(0).random(400)
    found = resample([[value] for value in values])
    within = 1.96 * values.std() / 20
    assert found["mean"] == pytest.approx(values.mean())
    assert found["high"] - found["mean"] == pytest.approx(within, rel=0.05)
    assert found["mean"] - found["low"] == pytest.approx(within, rel=0.05)


def test_values_of_one_image_are_not_independent() -> None:
    values = np.random.default_rng(0).integers(0, 2, 100)
    alone = resample([[value] for value in values for _ in range(4)])
    together = resample([[value] * 4 for value in values])
    assert together["mean"] == alone["mean"]
    widths = [one["high"] - one["low"] for one in (together, alone)]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.1)
    with pytest.raises(ValueError, match="no value"):
        resample([[]])
