"""Recall of retrieval: how often a correct item is among the top k."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

CUTS = (1, 5, 10)
ROWS_AT_A_TIME = 1 << 14
"""Rows that are counted together."""


@dataclass(frozen=True, slots=True)
class RankedScores:
    """Scores of a few columns of each row of a matrix; all other columns rank below them, alike.

    The columns of row `i` are `columns[starts[i] : starts[i + 1]]`, ascending, and `scores` stands
    beside them. So the best candidates of half a million texts fit where the matrix would not.
    """

    starts: np.ndarray
    """`(rows + 1,)` int64."""
    columns: np.ndarray
    """`(candidates,)` int64."""
    scores: np.ndarray
    """`(candidates,)` float."""
    num_columns: int

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @property
    def rows(self) -> np.ndarray:
        """The row of each candidate, `(candidates,)` int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def part(self, start: int, stop: int) -> "RankedScores":
        """Rows `start` to `stop` (not included)."""
        starts = self.starts[start : stop + 1]
        place = slice(int(starts[0]), int(starts[-1]))
        return RankedScores(
            starts - starts[0], self.columns[place], self.scores[place], self.num_columns
        )

    def to_matrix(self, fill: float) -> np.ndarray:
        """The matrix `(rows, columns)`, with `fill` where there is no candidate."""
        matrix = np.full((len(self), self.num_columns), fill, dtype=self.scores.dtype)
        matrix[self.rows, self.columns] = self.scores
        return matrix


def recalls(
    image_to_text: RankedScores,
    text_to_image: RankedScores,
    texts_of_image: Sequence[Sequence[int]],
) -> dict[str, float]:
    """Recall at 1, 5 and 10 in per cent.

    `tr`: an image counts if any of its texts is among its top k texts. `ir`: a text counts if its
    image is among its top k images. Equal scores are averaged over all their orders, so that a
    model that gives all pairs the same score gets the recall of random guessing. NaN is worse than
    any other score, and finds nothing.
    """
    found = hits(image_to_text, text_to_image, texts_of_image)
    return {name: 100.0 * float(values.mean()) for name, values in found.items()}


def hits(
    image_to_text: RankedScores,
    text_to_image: RankedScores,
    texts_of_image: Sequence[Sequence[int]],
) -> dict[str, np.ndarray]:
    """What `recalls` are the means of: `tr1` ... of each image, `ir1` ... of each text, 0 to 1."""
    texts = np.array([text for own in texts_of_image for text in own], dtype=np.int64)
    images = np.repeat(np.arange(len(texts_of_image)), [len(own) for own in texts_of_image])
    found = {f"tr{k}": share_found(image_to_text, images, texts, k) for k in CUTS}
    return found | {f"ir{k}": share_found(text_to_image, texts, images, k) for k in CUTS}


def first_ranks(ranked: RankedScores, own_rows: np.ndarray, own_columns: np.ndarray) -> np.ndarray:
    """For each row the rank of its best own column, 1 for the first; `(rows,)` float64.

    Equal scores are averaged over all their orders: with `equal` others of the same score, and
    `mine` own ones, the first own one is expected after equal / (mine + 1) of them. A row whose
    own scores are all NaN has the last rank. The arguments are those of `share_found`.
    """
    above, equal, mine = _count_around_best(ranked, own_rows, own_columns)
    return np.where(mine > 0, above + 1 + equal / (mine + 1), float(ranked.num_columns))


def first_columns(ranked: RankedScores) -> list[np.ndarray]:
    """The columns of the highest score of each row; none where all scores of a row are NaN."""
    found: list[np.ndarray] = []
    for start in range(0, len(ranked), ROWS_AT_A_TIME):
        found += _first_columns(ranked.part(start, start + ROWS_AT_A_TIME))
    return found


def _first_columns(ranked: RankedScores) -> list[np.ndarray]:
    rows = ranked.rows
    scores = np.where(np.isnan(ranked.scores), -np.inf, ranked.scores)
    best = np.full(len(ranked), -np.inf)
    np.maximum.at(best, rows, scores)
    first = (scores == best[rows]) & ~np.isneginf(scores)
    ends = np.cumsum(_count(rows, first, len(ranked)))
    return np.split(ranked.columns[first], ends[:-1])


def share_found(
    ranked: RankedScores, own_rows: np.ndarray, own_columns: np.ndarray, k: int
) -> np.ndarray:
    """For each row, the share of orders of equal scores that have an own column in the top k.

    `(rows,)` float64, 0 or 1 where no scores are equal. `own_rows` and `own_columns` `(pairs,)` say
    which columns are a row's own. Take a row whose best own score is beaten by `above` others, and
    shared by `equal` others and `mine` own ones. It misses if others fill all k - above places that
    are left: with probability equal / (equal + mine) for the first of them, (equal - 1) / (equal +
    mine - 1) for the second...
    """
    parts = [_share_found(*part, k) for part in _blocks(ranked, own_rows, own_columns)]
    return np.concatenate([np.zeros(0), *parts])


def _blocks(
    ranked: RankedScores, own_rows: np.ndarray, own_columns: np.ndarray
) -> Iterator[tuple[RankedScores, np.ndarray, np.ndarray]]:
    """Some rows at a time with their own columns; memory would not hold the work for all."""
    order = np.argsort(own_rows, kind="stable")
    own_rows, own_columns = own_rows[order], own_columns[order]
    for start in range(0, len(ranked), ROWS_AT_A_TIME):
        part = ranked.part(start, start + ROWS_AT_A_TIME)
        own = slice(*np.searchsorted(own_rows, [start, start + len(part)]))
        yield part, own_rows[own] - start, own_columns[own]


def _share_found(
    ranked: RankedScores, own_rows: np.ndarray, own_columns: np.ndarray, k: int
) -> np.ndarray:
    above, equal, mine = _count_around_best(ranked, own_rows, own_columns)
    missed = np.ones(len(ranked))
    for place in range(k):
        taken = place - above
        left = np.maximum(equal - taken, 0)
        miss = left / np.maximum(equal + mine - taken, 1)
        missed = np.where((taken >= 0) & (mine > 0), missed * miss, missed)
    return 1.0 - missed


def _count_around_best(
    ranked: RankedScores, own_rows: np.ndarray, own_columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row: others above its best own score, others equal to it, own columns of that score.

    A row whose own scores are all NaN has no own columns.
    """
    count, rows = len(ranked), ranked.rows
    own = np.isin(
        rows * ranked.num_columns + ranked.columns, own_rows * ranked.num_columns + own_columns
    )
    scores = np.where(np.isnan(ranked.scores), -np.inf, ranked.scores)
    best = np.full(count, -np.inf)
    np.maximum.at(best, rows[own], scores[own])
    at_row = best[rows]
    above = _count(rows, (scores > at_row) & ~own, count)
    equal = _count(rows, (scores == at_row) & ~own, count)
    mine = _count(rows, (scores == at_row) & own, count)
    # The best own one is no candidate: it stands among all that are none, below all candidates.
    own_listed = _count(rows, own, count)
    own_left = np.bincount(own_rows, minlength=count) - own_listed
    listed = np.diff(ranked.starts)
    below = np.isneginf(best) & (own_left > 0)
    above = np.where(below, _count(rows, np.isfinite(scores) & ~own, count), above)
    equal = np.where(below, ranked.num_columns - listed - own_left, equal)
    mine = np.where(below, own_left, np.where(np.isneginf(best), 0, mine))
    return above, equal, mine


def _count(rows: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(rows[chosen], minlength=count)
