"""Ranks, recalls, MRR and NDCG of dialogues equal the challenge's."""

import itertools
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
    # The official code breaks ties by position, and ranks have none.
    ordered = -ranks
    found, expected = visdial_scores(ordered, true), case["metrics"]
    assert found["mean_rank"] == pytest.approx(expected["mean"], rel=1e-6)
    assert found["mrr"] == pytest.approx(100 * expected["mrr"], rel=1e-6)
    for cut in (1, 5, 10):
        assert found[f"r{cut}"] == pytest.approx(100 * expected[f"r@{cut}"], rel=1e-6)
    gains = ndcg_of_rounds(ordered, np.array(case["relevance"]))
    assert gains == pytest.approx(case["ndcg_per_round"], rel=1e-6)
    assert gains.mean() == pytest.approx(expected["ndcg"], rel=1e-6)
    if all(len(set(row)) == len(row) for row in case["scores"]):
        scores = np.array(case["scores"])
        assert visdial_scores(scores, true) == pytest.approx(found)
        assert ndcg_of_rounds(scores, np.array(case["relevance"])) == pytest.approx(gains)


def test_equal_scores_stand_in_their_order_and_nan_comes_last() -> None:
    ranks = candidate_ranks(np.array([[0.5, np.nan, 0.9, 0.5]]))
    assert ranks.tolist() == [[2, 4, 1, 3]]


def test_figures_of_two_rounds_worked_by_hand() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [-1.0, 2.0, 0.0]])
    found = visdial_scores(scores, np.array([0, 0]))
    assert found["r1"] == 50.0
    assert found["r5"] == 100.0
    assert found["mean_rank"] == 2.0
    assert found["mrr"] == pytest.approx(100 * (1 + 1 / 3) / 2)


def test_gain_is_cut_at_the_number_of_relevant_candidates() -> None:
    # Two are relevant; one of them stands third and counts for nothing.
    gains = ndcg_of_rounds(np.array([[3.0, 2.0, 1.0]]), np.array([[1.0, 0.0, 0.5]]))
    assert gains == pytest.approx([1.0 / (1.0 + 0.5 / np.log2(3))])
    assert ndcg_of_rounds(np.array([[3.0, 2.0, 1.0]]), np.zeros((1, 3))).tolist() == [0.0]


@pytest.mark.parametrize("true", [0, 3, 99])
@pytest.mark.parametrize("score", [0.0, np.nan])
def test_equal_scores_find_by_chance_wherever_the_answer_stands(true: int, score: float) -> None:
    found = visdial_scores(np.full((2, 100), score), np.array([true, true]))
    assert found["r1"] == pytest.approx(1.0)
    assert found["r5"] == pytest.approx(5.0)
    assert found["mean_rank"] == pytest.approx(50.5)
    assert found["mrr"] == pytest.approx((1 / np.arange(1, 101)).sum())


def test_figures_are_means_over_the_orders_of_equal_scores() -> None:
    relevance = np.array([[0.5, 0.0, 1.0, 0.0, 0.3]])
    ties = np.array([[0.2, 0.7, 0.2, 0.2, 0.1]])
    # All orders of the three that are equal.
    orders = np.array([[a, 0.7, b, c, 0.1] for a, b, c in itertools.permutations((0.2, 0.3, 0.4))])
    for true in range(5):
        found = visdial_scores(ties, np.array([true]))
        assert found == pytest.approx(visdial_scores(orders, np.full(6, true)))
    expected = ndcg_of_rounds(orders, np.repeat(relevance, 6, axis=0)).mean()
    assert ndcg_of_rounds(ties, relevance) == pytest.approx([expected])
