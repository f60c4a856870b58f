"""Ranks, recalls, MRR and NDCG of dialogues equal the challenge's."""

import json

import numpy as np
import pytest

from blip.metrics.visdial import candidate_ranks, ndcg_of_rounds, visdial_scores
from tests.support.vectors import FOLDER, needs_vectors


@needs_vectors
@pytest.mark.parametrize("number", [0, 1, 2])
def test_recorded_scores_have_the_official_figures(number: int) -> None:
    text = (FOLDER / "metrics/visdial.json").read_text(encoding="utf-8")
    case = json.loads(text)["cases"][number]
    ranks = candidate_ranks(np.array(case["scores"]))
    true = np.array(case["gt_index"])
    assert ranks[np.arange(len(true)), true].tolist() == case["gt_ranks"]
    found, expected = visdial_scores(ranks, true), case["metrics"]
    assert found["mean_rank"] == pytest.approx(expected["mean"], rel=1e-6)
    assert found["mrr"] == pytest.approx(100 * expected["mrr"], rel=1e-6)
    for cut in (1, 5, 10):
        assert found[f"r{cut}"] == pytest.approx(100 * expected[f"r@{cut}"], rel=1e-6)
    gains = ndcg_of_rounds(ranks, np.array(case["relevance"]))
    assert gains == pytest.approx(case["ndcg_per_round"], rel=1e-6)
    assert gains.mean() == pytest.approx(expected["ndcg"], rel=1e-6)


def test_equal_scores_stand_in_their_order_and_nan_comes_last() -> None:
    ranks = candidate_ranks(np.array([[0.5, np.nan, 0.9, 0.5]]))
    assert ranks.tolist() == [[2, 4, 1, 3]]


def test_figures_of_two_rounds_worked_by_hand() -> None:
    ranks = np.array([[1, 2, 3], [3, 1, 2]])
    found = visdial_scores(ranks, np.array([0, 0]))
    assert found["r1"] == 50.0
    assert found["r5"] == 100.0
    assert found["mean_rank"] == 2.0
    assert found["mrr"] == pytest.approx(100 * (1 + 1 / 3) / 2)


def test_gain_is_cut_at_the_number_of_relevant_candidates() -> None:
    # Two are relevant; one of them stands third and counts for nothing.
    gains = ndcg_of_rounds(np.array([[1, 2, 3]]), np.array([[1.0, 0.0, 0.5]]))
    assert gains == pytest.approx([1.0 / (1.0 + 0.5 / np.log2(3))])
    assert ndcg_of_rounds(np.array([[1, 2, 3]]), np.zeros((1, 3))).tolist() == [0.0]
