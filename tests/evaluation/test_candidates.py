"""Pairs that are candidates in both directions stand once, however they are cut."""

import numpy as np
import pytest
import torch

from blip.evaluation import candidates
from blip.evaluation.candidates import Candidates, Pairs, best_columns


@pytest.mark.parametrize("at_a_time", [1, 2, 5, 1000])
def test_a_pair_of_both_directions_stands_once(
    monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr(candidates, "VALUES_AT_A_TIME", at_a_time)
    monkeypatch.setattr(candidates, "ROWS_AT_A_TIME", at_a_time)
    of_images = Candidates(np.array([0, 2, 2, 5]), np.array([0, 3, 1, 1, 3], dtype=np.int32))
    of_texts = Candidates(np.array([0, 2, 3, 3, 4]), np.array([0, 1, 2, 2], dtype=np.int32))
    pairs = Pairs.from_both_directions(of_images, of_texts, 4)
    assert pairs.codes.tolist() == [0, 3, 4, 9, 11]
    assert [pairs.texts_of(image).tolist() for image in range(3)] == [[0, 3], [0], [1, 3]]
    rows = [(place, own.tolist()) for place, own in of_images.blocks()]
    assert np.concatenate([own for _, own in rows]).tolist() == of_images.rows.tolist()
    assert [place.stop for place, _ in rows][-1] == 5


def test_equal_columns_are_candidates_together_but_not_all_of_many() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    columns = torch.tensor([[1.0, 0.0]] * 30 + [[0.5, 0.5]] * 6 + [[0.0, 1.0]])
    found = best_columns(rows, columns, 2)
    assert found.columns[: found.starts[1]].tolist() == list(range(8))
    # The best one stands behind those that are equal.
    assert found.columns[found.starts[1] :].tolist() == [*range(30, 36), 36]
    repeat = torch.arange(len(columns)).repeat_interleave(3)
    repeated = best_columns(rows, columns, 2, repeat)
    assert repeated.columns[: repeated.starts[1]].tolist() == list(range(24))
    assert repeated.columns[repeated.starts[1] :].tolist() == [108, 109, 110]
