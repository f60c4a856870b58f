"""Spreads over seeds, beside hand-worked ones."""

import pytest

from experiments.spread import over_seeds


def test_over_seeds_by_hand() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    assert (found["mean"], found["deviation"]) == (2.0, 1.0)
    assert (found["least"], found["greatest"]) == (1.0, 3.0)
    # Student's t with two degrees of freedom.
    assert found["within"] == pytest.approx(4.303 / 3**0.5)
    assert "within" not in over_seeds([1.0])
