"""Measures by hand."""

import numpy as np
import pytest

from blip.metrics import retrieval
from blip.metrics.classification import precision_recall
from blip.metrics.retrieval import RankedScores, first_columns, share_found
from blip.metrics.retrieval import recalls as recalls_of_ranked
from tests.support.ranked_scores import rank_all


def recalls(scores: np.ndarray, texts_of_image: list[list[int]]) -> dict[str, float]:
    """Of a whole matrix `(images, texts)`."""
    return recalls_of_ranked(rank_all(scores), rank_all(scores.T), texts_of_image)


def test_recalls_by_hand() -> None:
    # Three images; the first owns texts 0 and 1.
    scores = np.array([[0.1, 0.9, 0.2, 0.3], [0.5, 0.1, 0.4, 0.2], [0.2, 0.3, 0.1, 0.8]])
    found = recalls(scores, [[0, 1], [2], [3]])
    assert found["tr1"] == pytest.approx(100 * 2 / 3)
    assert found["tr5"] == 100.0
    # Text 0 is nearest to image 1; text 1 to 0; text 2 to 1; text 3 to 2.
    assert found["ir1"] == 75.0
    assert found["ir10"] == 100.0


def test_a_model_that_scores_all_alike_finds_what_a_blind_guess_finds() -> None:
    found = recalls(np.zeros((20, 20)), [[i] for i in range(20)])
    assert [found[name] for name in ("tr1", "tr5", "tr10")] == pytest.approx([5, 25, 50])
    assert [found[name] for name in ("ir1", "ir5", "ir10")] == pytest.approx([5, 25, 50])


def test_equal_scores_by_hand() -> None:
    """Of three equal texts two belong to image 0: two of three orders begin with one of them."""
    scores = np.array([[0.5, 0.5, 0.5, 0.1], [0.9, 0.2, 0.2, 0.2]])
    found = recalls(scores, [[0, 1], [2, 3]])
    # Image 1: one stranger is better, so that its own are never first.
    assert found["tr1"] == pytest.approx(100 * (2 / 3 + 0) / 2)
    # Text 0 is nearer to image 1; the others nearer to image 0, or to image 1.
    assert found["ir1"] == 100 * (0 + 1 + 0 + 1) / 4
    assert found["tr5"] == found["ir5"] == 100.0


@pytest.mark.parametrize("k", [1, 5, 10])
def test_equal_scores_are_the_mean_over_their_orders(k: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (6, 13)).astype(float)
    own = [[2 * image, 2 * image + 1] for image in range(6)]
    images, texts = np.arange(6).repeat(2), np.arange(12)
    draws = 4000
    orders = scores + rng.random((draws, *scores.shape)) / 2
    found = recalls(scores, own)
    for name, drawn, rows, columns in (
        ("tr", orders, images, texts),
        ("ir", orders.swapaxes(1, 2), texts, images),
    ):
        _, height, width = drawn.shape
        # One below another: what a row finds depends on no other row.
        own_rows = np.concatenate([rows + height * number for number in range(draws)])
        ranked = rank_all(drawn.reshape(-1, width))
        shares = share_found(ranked, own_rows, np.tile(columns, draws), k)
        assert found[f"{name}{k}"] == pytest.approx(100 * shares.mean(), abs=1.5)


def test_nan_scores_find_nothing() -> None:
    scores = np.array([[np.nan, 0.1], [0.3, 0.2]])
    found = recalls(scores, [[0], [1]])
    assert (found["tr1"], found["ir1"]) == (0.0, 50.0)
    assert set(recalls(np.full((3, 3), np.nan), [[0], [1], [2]]).values()) == {0.0}


@pytest.mark.parametrize("k", [1, 2, 5, 30])
def test_columns_without_a_candidate_rank_below_all_others_alike(k: int) -> None:
    """Candidates alone give the same figures as the matrix with one low score elsewhere."""
    rng = np.random.default_rng(k)
    matrix = rng.integers(0, 4, (9, 14)).astype(np.float32)
    matrix[2, 3] = np.nan
    matrix[rng.random(matrix.shape) < 0.6] = -100.0
    matrix[4] = -100.0
    own_rows, own_columns = np.arange(9).repeat(2)[:14], rng.permutation(14)
    listed = [np.flatnonzero(row != -100.0) for row in matrix]
    sparse = RankedScores(
        np.cumsum([0, *map(len, listed)]),
        np.concatenate(listed),
        np.concatenate([row[columns] for row, columns in zip(matrix, listed, strict=True)]),
        14,
    )
    np.testing.assert_array_equal(sparse.to_matrix(-100.0), matrix)
    whole = share_found(rank_all(matrix), own_rows, own_columns, k)
    np.testing.assert_allclose(share_found(sparse, own_rows, own_columns, k), whole)
    assert k == 30 or 0 < whole.mean() < 1


def test_precision_and_recall_by_hand() -> None:
    assert precision_recall(both=2, chosen=3, right=4) == {"precision": 2 / 3, "recall": 0.5}
    assert precision_recall(both=0, chosen=0, right=3) == {"precision": 0, "recall": 0}


def test_rows_that_are_counted_apart_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 6, size=20)
    starts = np.concatenate([[0], np.cumsum(counts)])
    columns = np.concatenate([np.sort(generator.choice(9, n, replace=False)) for n in counts])
    ranked = RankedScores(starts, columns, generator.integers(0, 3, starts[-1]) / 2, 9)
    rows, own = generator.permutation(20), generator.integers(0, 9, 20)
    before = share_found(ranked, rows, own, 5), first_columns(ranked)
    monkeypatch.setattr(retrieval, "ROWS_AT_A_TIME", 3)
    np.testing.assert_array_equal(share_found(ranked, rows, own, 5), before[0])
    for one, other in zip(first_columns(ranked), before[1], strict=True):
        np.testing.assert_array_equal(one, other)
