"""Figures of dialogues: rounds of different options, ties and scores that are NaN."""

import numpy as np
import pytest

from blip.data.dialogues import Round
from blip.evaluation.visdial import measure_scores


def test_rounds_may_have_different_numbers_of_options() -> None:
    few = Round("is it red?", "no", ("yes", "no"), 1)
    many = Round("how many?", "2", ("1", "2", "3", "4"), 1, (0.0, 1.0, 0.5, 0.0))
    scores = [np.array([0.5, np.nan]), np.array([0.0, 0.0, -1.0, -2.0])]
    found = measure_scores([few, many], scores)
    # The first is second, behind no option that its round lacks; the other one shares two ranks.
    assert found["r1"] == pytest.approx(25.0)
    assert found["mean_rank"] == pytest.approx((2 + 1.5) / 2)
    assert found["mrr"] == pytest.approx(100 * (1 / 2 + 3 / 4) / 2)
    assert found["ndcg"] == pytest.approx(100 * 0.5 * (1 + 1 / np.log2(3)) / (1 + 0.5 / np.log2(3)))
